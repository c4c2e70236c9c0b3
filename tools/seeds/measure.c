/* measure.c: the series of a row, in turns. A sample is the mean over passes that together take
 * long enough for the clock. */
#include "tools/seeds/seeds.h"

#include <time.h>

enum { MOST_ROUNDS = 15 };

typedef struct Turn {
    SeedSeries *series;
    SeedRun *run; /* NULL: the peer's */
    double samples[MOST_ROUNDS];
    uint32_t count;
    bool open;
} Turn;

static void give_up(Turn *turn, const char *why) {
    snprintf(turn->series->why, sizeof turn->series->why, "%s", why);
    turn->open = false;
}

/* The threads of the other process spin for work for a while before they sleep. */
static void settle(bool torch, bool *last) {
    if (torch != *last) nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    *last = torch;
}

/* Seconds of one pass; negative when it failed. `warm`: a pass before, which does not count, finds
 * its threads and caches again. */
static double sample_run(SeedRun *run, double least_seconds, bool warm) {
    if (warm && seed_call(run) != TKC_OK) return -1;
    double start = now_seconds(), spent = 0;
    uint32_t passes = 0;
    while (spent < least_seconds || passes == 0) {
        if (seed_call(run) != TKC_OK) return -1;
        passes++;
        spent = now_seconds() - start;
    }
    return spent / passes;
}

/* Sets up and does a first pass, which compiles; measures memory. */
static void open_turn(Bench *bench, SeedPeer *peer, const SeedRow *row, Turn *turn) {
    SeedSeries *series = turn->series;
    turn->open = true;
    if (series->torch) {
        if (!peer)
            give_up(turn, "no --torch");
        else
            turn->open = seed_peer_open(peer, &row->problem, series->backend, series->why,
                                        sizeof series->why) &&
                         seed_peer_sample(peer, 0, series->why, sizeof series->why) >= 0;
        return;
    }
    uint64_t before = tkc_device_memory_used(bench->device);
    if (seed_open(bench, &row->problem, series->backend, &turn->run) != TKC_OK) {
        give_up(turn, tkc_last_error());
        return;
    }
    tkc_device_memory_reset_peak(bench->device);
    if (seed_call(turn->run) != TKC_OK) {
        give_up(turn, tkc_last_error());
        return;
    }
    series->bytes = tkc_device_memory_peak(bench->device) - before;
    series->extra = series->bytes - seed_essential_bytes(turn->run);
}

static bool is_long(const Turn *turn) {
    return turn->count > 0 && turn->samples[turn->count - 1] > 0.5;
}

void seed_measure(Bench *bench, SeedPeer *peer, SeedRow *row) {
    Turn turns[SEED_MOST_SERIES] = {0};
    double least = bench->quick ? 2e-3 : 3e-2, most = bench->quick ? 1.0 : 6.0;
    uint32_t rounds = bench->quick ? 5 : MOST_ROUNDS;
    for (uint32_t i = 0; i < row->series_count; i++) {
        turns[i].series = &row->series[i];
        if (row->series[i].expected <= 0) open_turn(bench, peer, row, &turns[i]);
    }
    bool last = !row->series[0].torch;
    double start = now_seconds();
    for (uint32_t round = 0; round < rounds; round++) {
        if (round > 0 && now_seconds() - start > most) break;
        for (uint32_t i = 0; i < row->series_count; i++) {
            Turn *turn = &turns[i];
            if (!turn->open) continue;
            settle(turn->series->torch, &last);
            double seconds = turn->run ? sample_run(turn->run, least, !is_long(turn))
                                       : seed_peer_sample(peer, least, turn->series->why,
                                                          sizeof turn->series->why);
            if (seconds >= 0)
                turn->samples[turn->count++] = seconds;
            else if (turn->run)
                give_up(turn, tkc_last_error());
            else
                turn->open = false;
        }
    }
    for (uint32_t i = 0; i < row->series_count; i++) {
        Turn *turn = &turns[i];
        if (turn->open && turn->count > 0) {
            turn->series->measured = true;
            turn->series->seconds = tool_median(turn->samples, turn->count); /* sorts */
            turn->series->least = turn->samples[0];
            turn->series->most = turn->samples[turn->count - 1];
        }
        seed_close(turn->run);
        if (turn->series->torch && peer) seed_peer_close(peer);
    }
}
