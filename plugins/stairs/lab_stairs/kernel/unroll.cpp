// The unroll of STAIRS' two blocks over time, forward and backward, one slab of agents' rows after
// the other through all steps, so that a slab's activations stay in the cache.
//
// At a step of P rows: x = [entities, h_L, h_H]; y = L(...L(x) + x...) + x, `before` times without a
// gradient; z = L(y); r = readout(H(z)) at the tokens that are read and at h_L, which is the next h_L.
#include <algorithm>
#include "block.h"

extern "C" {
struct Shape {
    int entities;   // tokens without the histories
    int skip;       // first tokens, whose output nobody reads
    int before;     // applications of L without a gradient
    int high_step;  // steps between two updates of h_H
    int slab;       // rows that go through all steps together
    int steps;
    const int* sizes;      // rows of each step, never more than the step before
    const float* tokens;   // [rows, entities, WIDTH]
    const float* kept;     // [rows, entities + 2], 0 at dropped tokens; null: none dropped
    const float* const* low;   // a block's tensors
    const float* const* high;
    const float* const* rest;  // readout (in, out), its bias, W_ih (d, 3 d), b_ih, W_hh, b_hh
};
}

namespace {

constexpr int GATES = 3 * WIDTH;
enum Rest { READOUT, READOUT_BIAS, INPUT, INPUT_BIAS, HISTORY, HISTORY_BIAS };

struct Rows {
    Span low, high;
    int reads, agents;
    Rows(const Shape& s, int p)
        : low{s.entities + 2, p, 0, s.entities + 2, 2},
          high{s.entities + 2, p, s.skip, s.entities - s.skip + 1, 1},
          reads(s.entities - s.skip),
          agents(p) {}
};

// Where one step's activations lie on the tape.
struct Step {
    float *y, *h_low, *h_high, *gates;
    Saved low, high;
    static size_t lay(Step* step, float* base, const Rows& r, bool update) {
        size_t at = 0;
        auto take = [&](size_t n) {
            float* here = base ? base + at : nullptr;
            at += (n + 15) / 16 * 16;
            return here;
        };
        auto saved = [&](const Span& s) {
            size_t m = s.rows(), d = m * WIDTH;
            Saved made;
            made.q = take(d), made.chances = take(m * s.tokens), made.mixed = take(d);
            made.xhat1 = take(d), made.rstd1 = take(m), made.xhat2 = take(d), made.rstd2 = take(m);
            return made;
        };
        size_t rows = r.agents * WIDTH;
        Step made;
        made.y = take((size_t)r.low.rows() * WIDTH);
        made.low = saved(r.low), made.high = saved(r.high);
        made.h_low = update ? take(rows) : nullptr;
        made.h_high = update ? take(rows) : nullptr;
        made.gates = update ? take(4 * rows) : nullptr;
        if (step) *step = made;
        return at;
    }
};

int agents_at(const Shape& s, int time, int first) {
    return std::min(s.slab, s.sizes[time] - first);
}

struct Gru {
    Packed input, history;
    const float *input_bias, *history_bias;
    std::vector<float> gx, gh;
    Gru(const Shape& s) : input_bias(s.rest[INPUT_BIAS]), history_bias(s.rest[HISTORY_BIAS]) {
        input.pack(s.rest[INPUT], WIDTH, GATES, false);
        history.pack(s.rest[HISTORY], WIDTH, GATES, false);
        gx.resize((size_t)s.slab * GATES), gh.resize((size_t)s.slab * GATES);
    }
    // h <- GRU(x, h); reset, update, new and the history's part of new go to `gates`.
    void advance(const float* x, float* h, int rows, float* gates) {
        product(x, WIDTH, input.right(), gx.data(), rows, WIDTH, GATES, {input_bias});
        product(h, WIDTH, history.right(), gh.data(), rows, WIDTH, GATES, {history_bias});
        for (int m = 0; m < rows; m++)
            for (int j = 0; j < WIDTH; j += LANES) {
                const float *a = &gx[(size_t)m * GATES + j], *b = &gh[(size_t)m * GATES + j];
                Vec reset = sigmoid(load(a) + load(b));
                Vec update = sigmoid(load(a + WIDTH) + load(b + WIDTH));
                Vec part = load(b + 2 * WIDTH);
                Vec fresh = hyperbolic_tangent(load(a + 2 * WIDTH) + reset * part);
                float* history = h + (size_t)m * WIDTH + j;
                if (gates) {
                    float* to = gates + (size_t)m * 4 * WIDTH + j;
                    store(to, reset), store(to + WIDTH, update);
                    store(to + 2 * WIDTH, fresh), store(to + 3 * WIDTH, part);
                }
                store(history, fresh + update * (load(history) - fresh));
            }
    }
};

// Room for one slab's activations.
struct Room {
    std::vector<float> x, a, b, c, d, low, high, saved;
    Room(const Shape& s) {
        size_t n = (size_t)(s.entities + 2) * s.slab * WIDTH;
        for (auto* part : {&x, &a, &b, &c, &d}) part->resize(n);
        low.resize((size_t)s.slab * WIDTH), high.resize((size_t)s.slab * WIDTH);
        saved.resize(Step::lay(nullptr, nullptr, Rows(s, s.slab), true));
    }
};

// x [K, P, WIDTH] of the rows that begin at `row`.
void lay_tokens(const Shape& s, long row, int agents, const Room& room, float* x) {
    for (int p = 0; p < agents; p++) {
        const float* from = s.tokens + (row + p) * s.entities * WIDTH;
        scatter(from, agents, p, s.entities, x);
    }
    size_t bytes = sizeof(float) * agents * WIDTH;
    std::memcpy(x + (long)s.entities * agents * WIDTH, room.low.data(), bytes);
    std::memcpy(x + (long)(s.entities + 1) * agents * WIDTH, room.high.data(), bytes);
}

void add(const float* a, float* onto, long n) {
    for (long i = 0; i < n; i++) onto[i] += a[i];
}

// One step of one slab: what is read goes to `out`, the histories move on.
void step_forward(const Shape& s, const Block& low, const Block& high, const Packed& readout,
                  Gru& gru, Room& room, int time, int agents, long row, float* tape, float* out) {
    bool update = time % s.high_step == 0;
    Rows r(s, agents);
    Step step;
    Step::lay(&step, tape ? tape : room.saved.data(), r, update);
    size_t bytes = sizeof(float) * agents * WIDTH;
    if (update) {
        std::memcpy(step.h_low, room.low.data(), bytes);
        std::memcpy(step.h_high, room.high.data(), bytes);
        gru.advance(room.low.data(), room.high.data(), agents, step.gates);
    }
    const float* kept = s.kept ? s.kept + row * (s.entities + 2) : nullptr;
    long all = (long)r.low.rows() * WIDTH;
    float *x = room.x.data(), *middle = room.a.data();
    lay_tokens(s, row, agents, room, x);
    std::memcpy(step.y, x, sizeof(float) * all);
    for (int i = 0; i < s.before; i++) {
        apply(low, r.low, step.y, kept, step.low, false, middle, room.b.data());
        for (long j = 0; j < all; j++) step.y[j] = room.b[j] + x[j];
    }
    apply(low, r.low, step.y, kept, step.low, tape, middle, room.b.data());
    apply(high, r.high, room.b.data(), kept, step.high, tape, middle, room.c.data());
    product(room.c.data(), WIDTH, readout.right(), middle, r.high.rows(), WIDTH, WIDTH,
            {s.rest[READOUT_BIAS]});
    for (int p = 0; p < agents; p++)
        gather(middle, agents, p, r.reads, out + (row + p) * r.reads * WIDTH);
    std::memcpy(room.low.data(), middle + (long)r.reads * agents * WIDTH, bytes);
}

// Gradients as they are summed: each block's, the readout's and the GRU's.
struct Gradients {
    std::vector<std::vector<float>> parts;
    std::vector<float*> low, high, rest;
    Gradients() {
        for (auto* block : {&low, &high})
            for (int name = 0; name < TENSORS; name++) block->push_back(part(size_of(name)));
        for (int n : {WIDTH * WIDTH, WIDTH, WIDTH * GATES, GATES, WIDTH * GATES, GATES})
            rest.push_back(part(n));
    }
    float* part(size_t n) {
        parts.emplace_back(n, 0.0f);
        return parts.back().data();
    }
    // Add to the sums over all slabs and begin anew.
    void hand_over(float* const* totals) {
        for (size_t i = 0; i < parts.size(); i++) {
            add(parts[i].data(), totals[i], parts[i].size());
            std::fill(parts[i].begin(), parts[i].end(), 0.0f);
        }
    }
};

struct Turned {
    Packed readout, input, history;
    Turned(const Shape& s) {
        readout.pack(s.rest[READOUT], WIDTH, WIDTH, true);
        input.pack(s.rest[INPUT], WIDTH, GATES, true);
        history.pack(s.rest[HISTORY], WIDTH, GATES, true);
    }
};

// d_low, d_high after the update of h_H -> before it.
void gru_back(const Step& step, const Turned& turned, Gru& gru, Gradients& g, int rows, float* d_low,
              float* d_high) {
    for (int m = 0; m < rows; m++)
        for (int j = 0; j < WIDTH; j += LANES) {
            const float* from = step.gates + (size_t)m * 4 * WIDTH + j;
            size_t at = (size_t)m * WIDTH + j;
            Vec reset = load(from), update = load(from + WIDTH), fresh = load(from + 2 * WIDTH);
            Vec part = load(from + 3 * WIDTH), d = load(d_high + at), before = load(step.h_high + at);
            Vec d_update = d * (before - fresh) * update * (1.0f - update);
            Vec d_fresh = d * (1.0f - update) * (1.0f - fresh * fresh);
            Vec d_reset = d_fresh * part * reset * (1.0f - reset);
            float *a = &gru.gx[(size_t)m * GATES + j], *b = &gru.gh[(size_t)m * GATES + j];
            store(a, d_reset), store(a + WIDTH, d_update), store(a + 2 * WIDTH, d_fresh);
            store(b, d_reset), store(b + WIDTH, d_update), store(b + 2 * WIDTH, d_fresh * reset);
            store(d_high + at, d * update);
        }
    add_outer(step.h_low, WIDTH, gru.gx.data(), GATES, g.rest[INPUT], rows);
    add_columns(gru.gx.data(), g.rest[INPUT_BIAS], rows, GATES);
    add_outer(step.h_high, WIDTH, gru.gh.data(), GATES, g.rest[HISTORY], rows);
    add_columns(gru.gh.data(), g.rest[HISTORY_BIAS], rows, GATES);
    Finish low, high;
    low.added = d_low, high.added = d_high;
    product(gru.gx.data(), GATES, turned.input.right(), d_low, rows, GATES, WIDTH, low);
    product(gru.gh.data(), GATES, turned.history.right(), d_high, rows, GATES, WIDTH, high);
}

// One step back; room.low and room.high hold the gradients of the histories after it.
void step_back(const Shape& s, const Block& low, const Block& high, const Turned& turned, Gru& gru,
               Gradients& g, Room& room, int time, int agents, long row, float* tape,
               const float* d_out, float* d_tokens) {
    bool update = time % s.high_step == 0;
    Rows r(s, agents);
    Step step;
    Step::lay(&step, tape, r, update);
    const float* kept = s.kept ? s.kept + row * (s.entities + 2) : nullptr;
    size_t bytes = sizeof(float) * agents * WIDTH;
    float *z = room.x.data(), *d = room.a.data(), *dz = room.b.data();
    float *middle = room.c.data(), *dq = room.d.data();
    int rows = r.high.rows();
    for (int p = 0; p < agents; p++)
        scatter(d_out + (row + p) * r.reads * WIDTH, agents, p, r.reads, middle);
    std::memcpy(middle + (long)r.reads * agents * WIDTH, room.low.data(), bytes);
    renew(step.high.xhat2, high.plain[NORM2], high.plain[NORM2_SHIFT], rows, z);
    add_outer(z, WIDTH, middle, WIDTH, g.rest[READOUT], rows);
    add_columns(middle, g.rest[READOUT_BIAS], rows, WIDTH);
    product(middle, WIDTH, turned.readout.right(), d, rows, WIDTH, WIDTH);
    renew(step.low.xhat2, low.plain[NORM2], low.plain[NORM2_SHIFT], r.low.rows(), z);
    apply_back(high, g.high.data(), r.high, z, kept, step.high, d, middle, dq, dz);
    apply_back(low, g.low.data(), r.low, step.y, kept, step.low, dz, middle, dq, d);
    for (int p = 0; p < agents; p++)
        gather(d, agents, p, s.entities, d_tokens + (row + p) * s.entities * WIDTH);
    std::memcpy(room.low.data(), d + (long)s.entities * agents * WIDTH, bytes);
    add(d + (long)(s.entities + 1) * agents * WIDTH, room.high.data(), (long)agents * WIDTH);
    if (update) gru_back(step, turned, gru, g, agents, room.low.data(), room.high.data());
}

// Calls `visit(first row of the slab, its number of steps)` for every slab.
template <typename Visit>
void each_slab(const Shape& s, Visit visit) {
    for (int first = 0; first < s.sizes[0]; first += s.slab) {
        int steps = 0;
        while (steps < s.steps && s.sizes[steps] > first) steps++;
        visit(first, steps);
    }
}

std::vector<long> rows_before(const Shape& s) {
    std::vector<long> before(s.steps, 0);
    for (int t = 1; t < s.steps; t++) before[t] = before[t - 1] + s.sizes[t - 1];
    return before;
}

size_t step_size(const Shape& s, int time, int first) {
    Rows r(s, agents_at(s, time, first));
    return Step::lay(nullptr, nullptr, r, time % s.high_step == 0);
}

}  // namespace

extern "C" {

int stairs_most_tokens() { return MOST_TOKENS; }

// Floats of the tape that `stairs_forward` writes.
long stairs_tape(const Shape* shape) {
    long size = 0;
    each_slab(*shape, [&](int first, int steps) {
        for (int t = 0; t < steps; t++) size += step_size(*shape, t, first);
    });
    return size;
}

// out [rows, reads, WIDTH]; a null tape keeps nothing.
void stairs_forward(const Shape* shape, float* tape, float* out) {
    const Shape& s = *shape;
    Block low(s.low, false), high(s.high, false);
    Packed readout;
    readout.pack(s.rest[READOUT], WIDTH, WIDTH, false);
    Gru gru(s);
    Room room(s);
    std::vector<long> before = rows_before(s);
    each_slab(s, [&](int first, int steps) {
        std::fill(room.low.begin(), room.low.end(), 0.0f);
        std::fill(room.high.begin(), room.high.end(), 0.0f);
        for (int t = 0; t < steps; t++) {
            int agents = agents_at(s, t, first);
            step_forward(s, low, high, readout, gru, room, t, agents, before[t] + first, tape, out);
            if (tape) tape += step_size(s, t, first);
        }
    });
}

// d_tokens [rows, entities, WIDTH], and sums of the gradients of all weights onto `totals`, in the
// order low, high, rest.
void stairs_backward(const Shape* shape, float* tape, const float* d_out, float* d_tokens,
                     float* const* totals) {
    const Shape& s = *shape;
    Block low(s.low, true), high(s.high, true);
    Turned turned(s);
    Gru gru(s);
    Room room(s);
    Gradients sums;
    std::vector<long> before = rows_before(s);
    each_slab(s, [&](int first, int steps) {
        std::fill(room.low.begin(), room.low.end(), 0.0f);
        std::fill(room.high.begin(), room.high.end(), 0.0f);
        std::vector<float*> at(steps + 1, tape);
        for (int t = 0; t < steps; t++) at[t + 1] = at[t] + step_size(s, t, first);
        for (int t = steps - 1; t >= 0; t--)
            step_back(s, low, high, turned, gru, sums, room, t, agents_at(s, t, first),
                      before[t] + first, at[t], d_out, d_tokens);
        tape = at[steps];
        sums.hand_over(totals);
    });
}
}
