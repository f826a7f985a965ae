/* GROTable: see coalesce.py. Nothing here, and in what this includes, needs the GIL or an allocator of
   Python's. The packets are in memory that the caller holds. */

#pragma once

#include "runs.h"
#include "slots.h"

/* Find the runs. The packets were announced, and `items` are their bytes. There are `mask + 1`
   slots, all free. Their number is a power of two, and a third more than the packets that were
   announced, so that probing ends soon. */
static void
coalesce(Packet *packets, const Part *items, int32_t count, Slot *slots, size_t mask,
         bool tap, Wanted wanted)
{
    enum { AHEAD = 8 }; /* so many packets are hashed while their slots come from memory */
    Slot *slot = NULL;
    const Packet *before = NULL;
    bool hosts_seen = false;
    for (int32_t i = 0, next = 0; i < count; i += packets[i].segments) {
        for (; next < count && next <= i + AHEAD; next += packets[next].segments) {
            Packet *p = &packets[next];
            parse(p, &items[next], tap, wanted);
            if (p->segments > 1 && !fit_one_run(p, items + next))
                take_apart(p);
            if (p->kind != FLOW)
                continue;
            p->again = before && same_flow(before, p, FLOW);
            p->hash = p->again ? before->hash : flow_hash(p, FLOW);
            __builtin_prefetch(&slots[p->hash & mask], 1);
            before = p;
        }
        Packet *p = &packets[i];
        if (p->kind == NO_FLOW)
            continue;
        if (p->kind == HOSTS) { /* it may belong to any flow between these hosts */
            Slot *hosts = find_slot(slots, mask, packets, p, HOSTS);
            hosts->kind = HOSTS;
            hosts->packet = i;
            hosts_seen = true;
            continue;
        }
        if (!p->again)
            slot = find_slot(slots, mask, packets, p, FLOW);
        if (slot->kind == NO_FLOW) {
            slot->kind = FLOW;
            slot->run = NONE;
        }
        else if (hosts_seen) {
            const Slot *hosts = find_slot(slots, mask, packets, p, HOSTS);
            if (hosts->kind == HOSTS && hosts->packet > slot->packet)
                slot->run = NONE;
        }
        slot->packet = i;
        if (p->candidate && slot->run != NONE && merge(packets, slot->run, i)) {
            if (p->segments > 1) {
                merge_others(&packets[slot->run], p, items + i);
                next = i + p->segments;
                before = p;
            }
            continue;
        }
        slot->run = p->candidate ? i : NONE;
        if (p->candidate)
            start_run(packets, i, items + i);
    }
}
