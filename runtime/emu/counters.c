/* counters.c: what a profiler would count. While running, everything is kept by instruction;
 * classes, lines and totals are made from that at the end. */
#include "runtime/emu/machine.h"

#include <stdlib.h>

/* ---- while running --------------------------------------------------------------------------- */

/* Sectors of 32 bytes that a warp's request touches. */
void count_global(Warp *w, const Inst *in, const uint64_t address[LANES], uint32_t size,
                  bool store) {
    uint64_t seen[2 * LANES];
    uint32_t count = 0;
    FOR_LANES(w->active, l) {
        for (uint64_t sector = address[l] / 32; sector <= (address[l] + size - 1) / 32; sector++) {
            bool known = false; /* neighbours come in order: look from the latest back */
            for (uint32_t i = count; i-- > 0 && !known;) known = seen[i] == sector;
            if (!known && count < 2 * LANES) seen[count++] = sector;
        }
    }
    uint64_t bytes = (uint64_t)__builtin_popcount(w->active) * size;
    InstCount *c = count_of(w, in);
    c->requests++;
    c->sectors += count;
    c->bytes += bytes;
    EmuCounters *total = &w->cluster->counts->total;
    *(store ? &total->store_requests : &total->load_requests) += 1;
    *(store ? &total->store_sectors : &total->load_sectors) += count;
    *(store ? &total->store_bytes : &total->load_bytes) += bytes;
}

/* Wavefronts: 32 banks of 4 bytes; lanes that ask for the same word share it. Wide accesses go
 * in halves (8 bytes) or quarters (16 bytes) of a warp. */
void count_shared(Warp *w, const Inst *in, const uint64_t address[LANES], uint32_t size,
                  bool store) {
    uint32_t lanes_at_once = size <= 4 ? 32 : size == 8 ? 16 : 8, waves = 0, ideal = 0;
    for (uint32_t first = 0; first < LANES; first += lanes_at_once) {
        uint64_t words[LANES];
        uint8_t depth[32] = {0}, most = 0;
        uint32_t count = 0;
        for (uint32_t l = first; l < first + lanes_at_once; l++) {
            if (!(w->active >> l & 1)) continue;
            for (uint64_t word = address[l] / 4; word <= (address[l] + size - 1) / 4; word++) {
                bool known = false;
                for (uint32_t i = count; i-- > 0 && !known;) known = words[i] == word;
                if (known || count == LANES) continue;
                words[count++] = word;
                if (++depth[word & 31] > most) most = depth[word & 31];
            }
        }
        waves += most;
        ideal += count ? 1 : 0;
    }
    InstCount *c = count_of(w, in);
    c->wavefronts += waves;
    c->ideal += ideal;
    EmuCounters *total = &w->cluster->counts->total;
    total->shared_wavefronts += waves;
    total->ideal_wavefronts += ideal;
    *(store ? &total->shared_store_bytes : &total->shared_load_bytes) +=
        (uint64_t)__builtin_popcount(w->active) * size;
}

/* ---- at the end ------------------------------------------------------------------------------ */

static void add_totals(EmuCounters *to, const EmuCounters *from) {
    uint64_t *a[] = {&to->ctas,
                     &to->warps,
                     &to->load_requests,
                     &to->load_sectors,
                     &to->load_bytes,
                     &to->store_requests,
                     &to->store_sectors,
                     &to->store_bytes,
                     &to->shared_wavefronts,
                     &to->ideal_wavefronts,
                     &to->shared_load_bytes,
                     &to->shared_store_bytes,
                     &to->async_bytes,
                     &to->bulk_load_bytes,
                     &to->bulk_store_bytes,
                     &to->barrier_waits,
                     &to->mbarrier_waits,
                     &to->failed_mbarrier_waits};
    const uint64_t b[] = {from->ctas,
                          from->warps,
                          from->load_requests,
                          from->load_sectors,
                          from->load_bytes,
                          from->store_requests,
                          from->store_sectors,
                          from->store_bytes,
                          from->shared_wavefronts,
                          from->ideal_wavefronts,
                          from->shared_load_bytes,
                          from->shared_store_bytes,
                          from->async_bytes,
                          from->bulk_load_bytes,
                          from->bulk_store_bytes,
                          from->barrier_waits,
                          from->mbarrier_waits,
                          from->failed_mbarrier_waits};
    for (size_t i = 0; i < ARRAY_LENGTH(b); i++) *a[i] += b[i];
}

static int by_place(const void *x, const void *y) {
    const EmuLine *a = x, *b = y;
    int files = strcmp(a->file ? a->file : "", b->file ? b->file : "");
    return files ? files : a->line < b->line ? -1 : a->line > b->line;
}

void counters_finish(Arena *arena, const Machine *machine, const ThreadCounts *threads,
                     uint32_t thread_count, EmuCounters *out) {
    const EmuModule *module = machine->module;
    const PtxModule *ptx = module->ptx;
    *out = (EmuCounters){0};
    EmuLine *lines = arena_array(arena, EmuLine, module->insts.length + 1);
    uint32_t used = 0;
    for (uint32_t t = 0; t < thread_count; t++) add_totals(out, &threads[t].total);
    for (uint32_t pc = 0; pc < module->insts.length; pc++) {
        const Inst *in = &module->insts.data[pc];
        InstCount c = {0};
        for (uint32_t t = 0; t < thread_count; t++) {
            const InstCount *part = &threads[t].by_pc[pc];
            c.issues += part->issues, c.lanes += part->lanes;
            c.requests += part->requests, c.sectors += part->sectors, c.bytes += part->bytes;
            c.wavefronts += part->wavefronts, c.ideal += part->ideal;
        }
        if (!c.issues) continue;
        out->warp_instructions += c.issues;
        out->thread_instructions += c.lanes;
        out->by_class[in->class] += c.issues;
        if (in->form->op == OP_mma || in->form->op == OP_wgmma)
            out->tensor_operations += 2 * c.lanes / LANES * in->form->m * in->form->n *
                                      in->form->k / (in->form->op == OP_wgmma ? 4 : 1);
        PtxLoc loc = ptx->locs.data[in->loc];
        lines[used++] =
            (EmuLine){.file = !in->loc ? NULL
                              : loc.file < ptx->files.length && ptx->files.data[loc.file]
                                  ? ptx->files.data[loc.file]
                                  : "?",
                      .line = in->loc ? loc.line : in->line,
                      .warp_instructions = c.issues,
                      .requests = c.requests,
                      .sectors = c.sectors,
                      .global_bytes = c.bytes,
                      .wavefronts = c.wavefronts,
                      .ideal_wavefronts = c.ideal};
    }
    qsort(lines, used, sizeof *lines, by_place);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < used; i++) {
        if (!kept || by_place(&lines[kept - 1], &lines[i])) {
            lines[kept++] = lines[i];
            continue;
        }
        EmuLine *to = &lines[kept - 1];
        to->warp_instructions += lines[i].warp_instructions;
        to->requests += lines[i].requests, to->sectors += lines[i].sectors;
        to->global_bytes += lines[i].global_bytes;
        to->wavefronts += lines[i].wavefronts, to->ideal_wavefronts += lines[i].ideal_wavefronts;
    }
    out->lines = lines;
    out->line_count = kept;
}

/* ---- printing -------------------------------------------------------------------------------- */

static const char *const class_names[] = {
#define CLASS(name) #name,
    EMU_CLASSES(CLASS)
#undef CLASS
};

static double efficiency(uint64_t bytes, uint64_t sectors) {
    return sectors ? 100.0 * (double)bytes / (32.0 * (double)sectors) : 100.0;
}
#define N(x) ((unsigned long long)(x))

void emu_print_counters(const EmuCounters *c, Text *out) {
    text_printf(out, "%llu CTAs, %llu warps, %llu warp instructions, %llu thread instructions\n",
                N(c->ctas), N(c->warps), N(c->warp_instructions), N(c->thread_instructions));
    for (uint32_t i = 0; i < EMU_CLASS_COUNT; i++)
        if (c->by_class[i]) text_printf(out, "  %-10s %12llu\n", class_names[i], N(c->by_class[i]));
    text_printf(out, "global loads   %10llu requests %10llu sectors %12llu bytes %6.1f %% used\n",
                N(c->load_requests), N(c->load_sectors), N(c->load_bytes),
                efficiency(c->load_bytes, c->load_sectors));
    text_printf(out, "global stores  %10llu requests %10llu sectors %12llu bytes %6.1f %% used\n",
                N(c->store_requests), N(c->store_sectors), N(c->store_bytes),
                efficiency(c->store_bytes, c->store_sectors));
    text_printf(out,
                "shared memory  %10llu wavefronts, ideal %llu; %llu bytes read, %llu written\n",
                N(c->shared_wavefronts), N(c->ideal_wavefronts), N(c->shared_load_bytes),
                N(c->shared_store_bytes));
    text_printf(
        out, "async copies   %10llu bytes by cp.async, %llu by bulk loads, %llu by bulk stores\n",
        N(c->async_bytes), N(c->bulk_load_bytes), N(c->bulk_store_bytes));
    text_printf(out, "tensor cores   %10llu operations\n", N(c->tensor_operations));
    text_printf(out, "waits          %10llu at barriers, %llu at mbarriers (%llu polls failed)\n",
                N(c->barrier_waits), N(c->mbarrier_waits), N(c->failed_mbarrier_waits));
    for (uint32_t i = 0; i < c->line_count; i++) {
        const EmuLine *l = &c->lines[i];
        if (!l->requests && l->wavefronts <= l->ideal_wavefronts) continue;
        text_printf(out, "%s:%u: %llu instructions", l->file ? l->file : "ptx", l->line,
                    N(l->warp_instructions));
        if (l->requests)
            text_printf(out, ", %.2f sectors a request (%.1f %% used)",
                        (double)l->sectors / (double)l->requests,
                        efficiency(l->global_bytes, l->sectors));
        if (l->wavefronts)
            text_printf(out, ", %llu wavefronts for an ideal %llu", N(l->wavefronts),
                        N(l->ideal_wavefronts));
        text_puts(out, "\n");
    }
}

static void json_string(Text *out, const char *s) {
    text_puts(out, "\"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            text_printf(out, "\\%c", *s);
        else if ((unsigned char)*s < 32)
            text_printf(out, "\\u%04x", *s);
        else
            text_add(out, s, 1);
    }
    text_puts(out, "\"");
}

void emu_print_counters_json(const EmuCounters *c, Text *out) {
    text_printf(out,
                "{\"ctas\": %llu, \"warps\": %llu, \"warp_instructions\": %llu, "
                "\"thread_instructions\": %llu, \"classes\": {",
                N(c->ctas), N(c->warps), N(c->warp_instructions), N(c->thread_instructions));
    for (uint32_t i = 0; i < EMU_CLASS_COUNT; i++)
        text_printf(out, "%s\"%s\": %llu", i ? ", " : "", class_names[i], N(c->by_class[i]));
    text_printf(out,
                "}, \"global\": {\"load_requests\": %llu, \"load_sectors\": %llu, "
                "\"load_bytes\": %llu, \"store_requests\": %llu, \"store_sectors\": %llu, "
                "\"store_bytes\": %llu}, ",
                N(c->load_requests), N(c->load_sectors), N(c->load_bytes), N(c->store_requests),
                N(c->store_sectors), N(c->store_bytes));
    text_printf(out,
                "\"shared\": {\"wavefronts\": %llu, \"ideal_wavefronts\": %llu, "
                "\"load_bytes\": %llu, \"store_bytes\": %llu}, ",
                N(c->shared_wavefronts), N(c->ideal_wavefronts), N(c->shared_load_bytes),
                N(c->shared_store_bytes));
    text_printf(out,
                "\"async_bytes\": %llu, \"bulk_load_bytes\": %llu, \"bulk_store_bytes\": %llu, "
                "\"tensor_operations\": %llu, \"barrier_waits\": %llu, \"mbarrier_waits\": %llu, "
                "\"failed_mbarrier_waits\": %llu, \"lines\": [",
                N(c->async_bytes), N(c->bulk_load_bytes), N(c->bulk_store_bytes),
                N(c->tensor_operations), N(c->barrier_waits), N(c->mbarrier_waits),
                N(c->failed_mbarrier_waits));
    for (uint32_t i = 0; i < c->line_count; i++) {
        const EmuLine *l = &c->lines[i];
        text_puts(out, i ? ", {\"file\": " : "{\"file\": ");
        json_string(out, l->file ? l->file : "");
        text_printf(out,
                    ", \"line\": %u, \"warp_instructions\": %llu, \"requests\": %llu, "
                    "\"sectors\": %llu, \"global_bytes\": %llu, \"wavefronts\": %llu, "
                    "\"ideal_wavefronts\": %llu}",
                    l->line, N(l->warp_instructions), N(l->requests), N(l->sectors),
                    N(l->global_bytes), N(l->wavefronts), N(l->ideal_wavefronts));
    }
    text_puts(out, "]}\n");
}
