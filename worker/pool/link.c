/* SPDX-License-Identifier: MPL-2.0 */
/* link.c - one broker at a time: dial, register, beat, grant credit; after a gap from the start.
 *
 *   DOWN ──after a random time──► DIALLED ──READY answered──► UP
 *     ▲                              │  no answer in time       │  REGISTER, silence, cut
 *     └──────────────────────────────┴──────────────────────────┘
 *
 * A BEAT is remembered with the time of its sending, because leases count from there; the answer
 * renews exactly the attempts that it listed. Silence is counted from the first BEAT without an
 * answer, so a worker that was paused itself (and sent none) does not take that for a broker's
 * silence. */
#include <stdlib.h>

#include "worker/pool/impl.h"

#define INTERVAL_MS_MIN 10
#define INTERVAL_MS_DEFAULT 1000
#define REDIAL_MS_MIN 10 /* whatever the broker says: never without a pause */
#define REFUSED_MS 1000  /* more of one after a refusal */

struct outmsg *link_message(struct pool *p, enum verb verb, struct view subject)
{
    char tag[SESSION_BYTES_MAX];
    size_t size = session_format(&p->session, tag);
    struct pool_effect *effect = pool_effects_add(p->fx, POOL_EFFECT_SEND_WORKERS);
    outmsg_init(&effect->message, verb, view_of(tag, size), subject);
    return &effect->message;
}

static struct outmsg *number_message(struct pool *p, enum verb verb, uint64_t number)
{
    struct buf text;
    buf_init(&text, 32);
    buf_add_u64(&text, number);
    struct outmsg *m = link_message(p, verb, buf_view(&text));
    buf_fini(&text);
    return m;
}

void link_dial(struct pool *p)
{
    p->link = POOL_LINK_DIALLED;
    p->session.epoch++;
    p->session.broker_start = 0;
    p->ready_sent_ms = p->now_ms;
    p->stats.dials++;
    pool_effects_add(p->fx, POOL_EFFECT_DIAL);
    struct buf header;
    buf_init(&header, PROTO_HEADER_BYTES_MAX);
    ready_header_encode(&p->ready, &header);
    outmsg_header(link_message(p, VERB_READY, view_of(NULL, 0)), buf_view(&header));
    buf_fini(&header);
}

void link_gap(struct pool *p, const char *why)
{
    if (p->link == POOL_LINK_DOWN)
        return;
    /* A broker that never answered is said once, not with each attempt. */
    bool is_news = p->link == POOL_LINK_UP || p->stats.dials == 1;
    p->link = POOL_LINK_DOWN;
    p->session.broker_start = 0;
    p->redial_at_ms =
        p->now_ms + max_u64(p->random % ((uint64_t)p->welcome.reconnect_ms + 1), REDIAL_MS_MIN);
    enum pool_level level = p->away_ms > 0 ? POOL_LEVEL_INFO : POOL_LEVEL_WARN;
    pool_effects_add(p->fx, POOL_EFFECT_HANG_UP);
    pool_effects_log(p->fx, is_news ? level : POOL_LEVEL_DEBUG,
                     "%s: dialling again, %zu jobs running, %zu verdicts kept", why, p->busy,
                     p->outbox_count);
}

uint64_t link_base_lease_end(const struct pool *p)
{
    return p->base_ms + p->welcome.lease_ms - p->welcome.margin_ms + p->away_ms;
}

/* ---- registration ---- */

static void add_ref_line(struct buf *b, const struct ref *ref)
{
    char text[REF_BYTES_MAX];
    buf_add(b, text, ref_format(ref, text));
    buf_add_char(b, '\n');
}

static void link_send_inventory(struct pool *p)
{
    struct buf text;
    struct outmsg *m = link_message(p, VERB_INVENTORY, view_of(NULL, 0));
    buf_init(&text, (size_t)REF_BYTES_MAX * (PROTO_SLOTS_MAX + PROTO_OUTBOX_MAX));
    for (size_t i = 0; i < p->slot_count; i++)
        if (p->slots[i].state == SLOT_RUNNING)
            add_ref_line(&text, &p->slots[i].ref);
    outmsg_body(m, blob_from_view(buf_view(&text)));
    buf_reset(&text);
    list_each (node, &p->outbox)
        add_ref_line(&text, &container_of(node, struct verdict, link)->ref);
    outmsg_body(m, blob_from_view(buf_view(&text)));
    buf_fini(&text);
}

void link_on_ready(struct pool *p, const struct session *tag, const struct msg *msg)
{
    struct error e = {0};
    struct welcome_header welcome;
    if (p->link != POOL_LINK_DIALLED)
        return;
    if (welcome_header_decode(msg->header, &welcome, &e) != STATUS_OK ||
        welcome.lease_ms <= welcome.margin_ms || tag->broker_start == 0) {
        p->stats.refused_other++;
        link_gap(p, "the broker's answer to READY makes no sense");
        return;
    }
    if (welcome.interval_ms < INTERVAL_MS_MIN)
        welcome.interval_ms = welcome.interval_ms == 0 ? INTERVAL_MS_DEFAULT : INTERVAL_MS_MIN;
    p->welcome = welcome;
    p->session.broker_start = tag->broker_start;
    p->link = POOL_LINK_UP;
    p->base_ms = p->ready_sent_ms;
    p->answered_beat = p->beat_number;
    p->unanswered_since_ms = NEVER_MS;
    p->received = 0;
    p->granted = 0;
    p->away_ms = 0; /* attempts keep what they have until a BEAT renews them */
    p->is_credit_stopped = false;
    p->is_refusal_told = false;
    pool_effects_add(p->fx, POOL_EFFECT_REGISTERED);
    pool_effects_log(p->fx, POOL_LEVEL_INFO,
                     "registered with broker start %u: lease %u ms, beat %u ms, %zu jobs running",
                     tag->broker_start, welcome.lease_ms, welcome.interval_ms, p->busy);
    link_send_inventory(p);
    link_beat(p);
    link_grant(p);
    outbox_resend(p, p->now_ms);
}

void link_on_refusal(struct pool *p, const struct msg *msg)
{
    char text[PROTO_REASON_BYTES_MAX + 1];
    if (p->link != POOL_LINK_DIALLED) {
        p->stats.refused_other++;
        return;
    }
    refusal_header_decode(msg->header, text, sizeof text);
    pool_effects_log(p->fx, p->is_refusal_told ? POOL_LEVEL_DEBUG : POOL_LEVEL_WARN,
                     "the broker does not take this worker: %s",
                     text[0] != '\0' ? text : status_sentence(status_parse(msg->subject)));
    p->is_refusal_told = true;
    link_gap(p, "not taken");
    p->redial_at_ms += REFUSED_MS;
}

/* ---- beats ---- */

static int compare_u64(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return (*x > *y) - (*x < *y);
}

/* The leases of what runs and of what waits for its ACK, as a set of ids. */
static struct blob *held_leases(struct pool *p)
{
    size_t count = 0;
    for (size_t i = 0; i < p->slot_count; i++)
        if (p->slots[i].state == SLOT_RUNNING)
            p->leases[count++] = p->slots[i].ref.lease;
    list_each (node, &p->outbox)
        p->leases[count++] = container_of(node, struct verdict, link)->ref.lease;
    if (count == 0)
        return NULL;
    qsort(p->leases, count, sizeof *p->leases, compare_u64);
    struct buf text;
    buf_init(&text, count * 48);
    for (size_t i = 0; i < count;) {
        size_t last = i;
        while (last + 1 < count && p->leases[last + 1] <= p->leases[last] + 1)
            last++;
        idset_add(&text, p->leases[i], p->leases[last]);
        i = last + 1;
    }
    struct blob *b = blob_from_view(buf_view(&text));
    buf_fini(&text);
    return b;
}

void link_beat(struct pool *p)
{
    uint64_t number = ++p->beat_number;
    p->beats[number % BEATS_MAX] = (struct beat){.number = number, .sent_ms = p->now_ms};
    if (p->unanswered_since_ms == NEVER_MS)
        p->unanswered_since_ms = p->now_ms;
    p->next_beat_ms = p->now_ms + p->welcome.interval_ms;
    struct outmsg *m = number_message(p, VERB_BEAT, number);
    outmsg_body(m, held_leases(p));
}

void link_on_beat(struct pool *p, const struct msg *msg)
{
    uint64_t number = 0;
    bool ok =
        view_u64(msg->subject, &number) && number > p->answered_beat && number <= p->beat_number;
    const struct beat *beat = &p->beats[number % BEATS_MAX];
    if (!ok || beat->number != number)
        return; /* answered before, or so late that it is forgotten */
    p->answered_beat = number;
    p->base_ms = beat->sent_ms;
    const struct beat *next = &p->beats[(number + 1) % BEATS_MAX];
    if (number == p->beat_number)
        p->unanswered_since_ms = NEVER_MS;
    else
        p->unanswered_since_ms = next->number == number + 1 ? next->sent_ms : p->now_ms;
    for (size_t i = 0; i < p->slot_count; i++) {
        struct slot *slot = &p->slots[i];
        if (slot->state != SLOT_RUNNING || slot->since_beat >= number)
            continue;
        slot_renew(p, slot, link_base_lease_end(p));
    }
}

void link_on_away(struct pool *p, const struct msg *msg)
{
    uint64_t away_ms = 0;
    if (!view_u64(msg->subject, &away_ms))
        return;
    away_ms = min_u64(away_ms, POOL_AWAY_MS_MAX);
    if (away_ms <= p->away_ms)
        return;
    p->away_ms = away_ms;
    /* Not on top of what an AWAY of an earlier session gave: stops in a row do not add up. */
    for (size_t i = 0; i < p->slot_count; i++)
        if (p->slots[i].state == SLOT_RUNNING)
            slot_renew(p, &p->slots[i], max_u64(p->slots[i].lease_end_ms, link_base_lease_end(p)));
    pool_effects_log(p->fx, POOL_LEVEL_INFO, "the broker is away for up to %llu s",
                     (unsigned long long)(away_ms / 1000));
}

/* ---- credit ---- */

void link_grant(struct pool *p)
{
    if (p->link != POOL_LINK_UP || p->mode != MODE_SERVING || p->is_credit_stopped ||
        p->now_ms < p->credit_pause_ms || p->outbox_bytes > POOL_OUTBOX_BYTES_MAX)
        return;
    uint64_t room = sub_sat_u64(PROTO_OUTBOX_MAX, p->outbox_count + p->busy);
    uint64_t total = p->received + min_u64(p->slot_count - p->busy, room);
    if (total <= p->granted)
        return;
    p->granted = total;
    number_message(p, VERB_CREDIT, total);
}

/* ---- deadlines ---- */

static uint64_t silent_at_ms(const struct pool *p)
{
    /* One interval has passed already when the first unanswered BEAT is sent. */
    return add_sat_u64(p->unanswered_since_ms,
                       (uint64_t)p->welcome.interval_ms * (POOL_SILENT_INTERVALS - 1));
}

void link_tick(struct pool *p)
{
    switch (p->link) {
    case POOL_LINK_DOWN:
        if (p->now_ms >= p->redial_at_ms)
            link_dial(p);
        break;
    case POOL_LINK_DIALLED:
        if (p->now_ms >= p->ready_sent_ms + POOL_ANSWER_MS)
            link_gap(p, "no broker answers");
        break;
    case POOL_LINK_UP:
        if (p->now_ms >= silent_at_ms(p))
            link_gap(p, "the broker is silent");
        else if (p->now_ms >= p->next_beat_ms)
            link_beat(p);
        break;
    }
    if (p->link == POOL_LINK_UP && p->now_ms >= POOL_RESEND_MS)
        outbox_resend(p, p->now_ms - POOL_RESEND_MS);
}

uint64_t link_deadline(const struct pool *p)
{
    if (p->link == POOL_LINK_DOWN)
        return p->redial_at_ms;
    if (p->link == POOL_LINK_DIALLED)
        return p->ready_sent_ms + POOL_ANSWER_MS;
    uint64_t at = min_u64(silent_at_ms(p), p->next_beat_ms);
    if (p->now_ms < p->credit_pause_ms)
        at = min_u64(at, p->credit_pause_ms);
    return min_u64(at, outbox_deadline(p));
}
