/* peer.c: PyTorch in a process of its own.
 *
 * It reads one JSON object a line and answers each with one: {"seconds": 0.1}, {"ok": true} or
 * {"error": "..."}. The script is torch_peer.py, embedded in the program and given with -c.
 */
#include "tools/seeds/seeds.h"

#include <cjson/cJSON.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern const char torch_peer_py[];

struct SeedPeer {
    pid_t process;
    FILE *to, *from;
};

extern char **environ;

static bool start(SeedPeer *peer, const char *python) {
    int down[2], up[2];
    if (pipe(down) != 0) return false;
    if (pipe(up) != 0) {
        close(down[0]);
        close(down[1]);
        return false;
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, down[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, up[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, down[1]);
    posix_spawn_file_actions_addclose(&actions, up[0]);
    char *arguments[] = {(char *)python, "-u", "-c", (char *)torch_peer_py, NULL};
    int error = posix_spawnp(&peer->process, python, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(down[0]);
    close(up[1]);
    peer->to = fdopen(down[1], "w");
    peer->from = fdopen(up[0], "r");
    return error == 0 && peer->to && peer->from;
}

/* Sends the request, if any (and deletes it), and gives the answer; NULL when there is none. */
static cJSON *ask(SeedPeer *peer, cJSON *request) {
    char line[4096];
    if (request) {
        char *text = cJSON_PrintUnformatted(request);
        cJSON_Delete(request);
        if (!text) return NULL;
        bool sent = fprintf(peer->to, "%s\n", text) > 0 && fflush(peer->to) == 0;
        free(text);
        if (!sent) return NULL;
    }
    return fgets(line, sizeof line, peer->from) ? cJSON_Parse(line) : NULL;
}

static void take_error(const cJSON *answer, char *why, size_t why_size) {
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(answer, "error");
    snprintf(why, why_size, "%s",
             cJSON_IsString(error) ? error->valuestring : "torch's process does not answer");
}

SeedPeer *seed_peer_start(Arena *arena, const char *python, const char **version, char *why,
                          size_t why_size) {
    SeedPeer *peer = arena_new(arena, SeedPeer);
    signal(SIGPIPE, SIG_IGN); /* writing to a peer that died fails instead */
    cJSON *answer = start(peer, python) ? ask(peer, NULL) : NULL;
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(answer, "version");
    if (cJSON_IsString(found)) {
        *version = arena_strdup(arena, found->valuestring);
        cJSON_Delete(answer);
        return peer;
    }
    take_error(answer, why, why_size);
    cJSON_Delete(answer);
    seed_peer_stop(peer);
    return NULL;
}

bool seed_peer_open(SeedPeer *peer, const SeedProblem *p, const char *backend, char *why,
                    size_t why_size) {
    static const char *const layers[] = {
        [SEED_LINEAR] = "linear",   [SEED_CONV2D] = "conv2d",       [SEED_MULTIHEAD] = "multihead",
        [SEED_SOFTMAX] = "softmax", [SEED_ATTENTION] = "attention", [SEED_BLOCK] = "block",
    };
    cJSON *request = cJSON_CreateObject();
    cJSON_AddStringToObject(request, "do", "open");
    cJSON_AddStringToObject(request, "layer", layers[p->layer]);
    cJSON_AddStringToObject(request, "dtype", tkc_dtype_name(p->dtype));
    cJSON_AddStringToObject(request, "backend", backend ? backend : "default");
    cJSON_AddBoolToObject(request, "backward", p->backward);
    cJSON_AddBoolToObject(request, "relu", p->relu);
    cJSON_AddBoolToObject(request, "causal", p->causal);
    cJSON_AddBoolToObject(request, "varied", p->varied);
    cJSON_AddNumberToObject(request, "batch", (double)p->batch);
    cJSON_AddNumberToObject(request, "heads", (double)p->heads);
    cJSON_AddNumberToObject(request, "length", (double)p->length);
    cJSON_AddNumberToObject(request, "in", (double)p->in);
    cJSON_AddNumberToObject(request, "out", (double)p->out);
    cJSON_AddNumberToObject(request, "kernel", (double)p->kernel);
    cJSON *answer = ask(peer, request);
    bool good = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(answer, "ok"));
    if (!good) take_error(answer, why, why_size);
    cJSON_Delete(answer);
    return good;
}

double seed_peer_sample(SeedPeer *peer, double least_seconds, char *why, size_t why_size) {
    cJSON *request = cJSON_CreateObject();
    cJSON_AddStringToObject(request, "do", "sample");
    cJSON_AddNumberToObject(request, "least", least_seconds);
    cJSON *answer = ask(peer, request);
    const cJSON *seconds = cJSON_GetObjectItemCaseSensitive(answer, "seconds");
    double value = cJSON_IsNumber(seconds) ? seconds->valuedouble : -1;
    if (value < 0) take_error(answer, why, why_size);
    cJSON_Delete(answer);
    return value;
}

void seed_peer_close(SeedPeer *peer) {
    cJSON *request = cJSON_CreateObject();
    cJSON_AddStringToObject(request, "do", "close");
    cJSON_Delete(ask(peer, request));
}

void seed_peer_stop(SeedPeer *peer) {
    if (!peer) return;
    if (peer->to) fclose(peer->to); /* it ends when its input does */
    if (peer->from) fclose(peer->from);
    if (peer->process > 0) waitpid(peer->process, NULL, 0);
}
