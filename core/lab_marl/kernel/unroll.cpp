// The unroll of a transformer over time, forward and backward: STAIRS-Former's two blocks, or one
// block. One slab of agents' rows after the other goes through all steps, so that a slab's
// activations stay in the cache.
//
// At a step of P rows: x = [entities, h_L, h_H]; y = L(...L(x) + x...) + x, `before` times without a
// gradient; z = L(y). Q is the head of readout(H(z)) at the tokens that are read, and the next h_L
// is readout(H(z)) at h_L. With one block L(x) stands for H(z), with one history x has no h_H.
#include <optional>
#include "ends.h"

namespace {

struct Rows {
    Span low, high;
    int reads, agents;
    bool recurs;
    Rows(const Shape& s, int p)
        : low{s.tokens(), p, 0, s.tokens(), s.histories},
          high{s.tokens(), p, s.skip, s.entities - s.skip + 1, 1},
          reads(s.entities - s.skip),
          agents(p),
          recurs(s.blocks == 2) {}
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
            made.q = take(d), made.chances = take(s.scores() * s.agents), made.mixed = take(d);
            made.xhat1 = take(d), made.rstd1 = take(m), made.xhat2 = take(d), made.rstd2 = take(m);
            return made;
        };
        size_t rows = r.agents * WIDTH;
        Step made;
        made.y = take((size_t)r.low.rows() * WIDTH);
        made.low = r.recurs ? saved(r.low) : Saved{};
        made.high = saved(r.high);
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

// Room for one slab's activations.
struct Room {
    std::vector<float> x, a, b, c, d, low, high, values, saved;
    Room(const Shape& s) {
        size_t n = (size_t)s.tokens() * s.slab * WIDTH;
        for (auto* part : {&x, &a, &b, &c, &d}) part->resize(n);
        low.resize((size_t)s.slab * WIDTH), high.resize((size_t)s.slab * WIDTH);
        values.resize((size_t)(s.entities - s.skip) * s.slab * Head::columns_for(s));
        saved.resize(Step::lay(nullptr, nullptr, Rows(s, s.slab), true));
    }
};

// All weights, ready for products.
struct Network {
    std::optional<Block> low;
    Block last;
    Embedding embedding;
    Head head;
    Packed readout, readout_back;
    Gru gru;
    Network(const Shape& s, bool backward)
        : last(s.last, backward), embedding(s), head(s), gru(s) {
        if (s.blocks == 2) low.emplace(s.low, backward);
        readout.pack(s.ends[READOUT], WIDTH, WIDTH, true);
        readout_back.pack(s.ends[READOUT], WIDTH, WIDTH, false);
    }
};

void add(const float* a, float* onto, long n) {
    for (long i = 0; i < n; i++) onto[i] += a[i];
}

// x [K, P, WIDTH] of the rows that begin at `row`.
void lay_tokens(const Shape& s, const Network& net, long row, int agents, const Room& room,
                float* x) {
    net.embedding.lay(s, row, agents, x);
    size_t bytes = sizeof(float) * agents * WIDTH;
    std::memcpy(x + (long)s.entities * agents * WIDTH, room.low.data(), bytes);
    if (s.histories == 2)
        std::memcpy(x + (long)(s.entities + 1) * agents * WIDTH, room.high.data(), bytes);
}

// Where `whole`: calls `each(where a token's outputs lie in [P, reads, outputs], where in [reads, P,
// columns])`.
template <typename Each>
void each_output(const Shape& s, const Head& head, const Rows& r, Each each) {
    for (int p = 0; p < r.agents; p++)
        for (int i = 0; i < r.reads; i++)
            each((long)p * s.actions + i * s.outputs, ((long)i * r.agents + p) * head.columns);
}

// Q [P, actions] of z [reads, P, WIDTH]: the head's outputs at the first token, and at each other
// one their mean, or all of them. `values` is scratch.
void read_values(const Shape& s, const Head& head, const Rows& r, const float* z, float* values,
                 float* out) {
    product({z, WIDTH}, head.forward.right(), {values, head.columns}, r.reads * r.agents, WIDTH,
            head.columns, {head.bias.data()});
    if (s.whole) return each_output(s, head, r, [&](long to, long from) {
        std::copy_n(values + from, s.outputs, out + to);
    });
    for (int p = 0; p < r.agents; p++, out += s.actions) {
        std::copy_n(values + (long)p * head.columns, s.outputs, out);
        for (int a = s.outputs; a < s.actions; a++)
            out[a] = values[((long)(a - s.outputs + 1) * r.agents + p) * head.columns + s.outputs];
    }
}

// The gradient of what `read_values` spread: [reads, P, columns].
void spread_back(const Shape& s, const Head& head, const Rows& r, const float* d_out, float* d) {
    std::fill_n(d, (long)r.reads * r.agents * head.columns, 0.0f);
    if (s.whole) return each_output(s, head, r, [&](long from, long to) {
        std::copy_n(d_out + from, s.outputs, d + to);
    });
    for (int p = 0; p < r.agents; p++, d_out += s.actions) {
        std::copy_n(d_out, s.outputs, d + (long)p * head.columns);
        for (int a = s.outputs; a < s.actions; a++)
            d[((long)(a - s.outputs + 1) * r.agents + p) * head.columns + s.outputs] = d_out[a];
    }
}

// One step of one slab: Q goes to `out`, the histories move on.
void step_forward(const Shape& s, Network& net, Room& room, int time, int agents, long row,
                  float* tape, float* out) {
    bool update = s.updates(time);
    Rows r(s, agents);
    Step step;
    Step::lay(&step, tape ? tape : room.saved.data(), r, update);
    size_t bytes = sizeof(float) * agents * WIDTH;
    if (update) {
        std::memcpy(step.h_low, room.low.data(), bytes);
        std::memcpy(step.h_high, room.high.data(), bytes);
        net.gru.advance(room.low.data(), room.high.data(), agents, step.gates);
    }
    const float *kept = s.kept ? s.kept + row * s.tokens() : nullptr, *given = step.y;
    long all = (long)r.low.rows() * WIDTH;
    float *x = room.x.data(), *middle = room.a.data(), *z = room.c.data();
    lay_tokens(s, net, row, agents, room, x);
    std::memcpy(step.y, x, sizeof(float) * all);
    if (net.low) {
        for (int i = 0; i < s.before; i++) {
            apply(*net.low, r.low, step.y, kept, step.low, false, middle, room.b.data());
            for (long j = 0; j < all; j++) step.y[j] = room.b[j] + x[j];
        }
        apply(*net.low, r.low, step.y, kept, step.low, tape, middle, room.b.data());
        given = room.b.data();
    }
    apply(net.last, r.high, given, kept, step.high, tape, middle, z);
    read_values(s, net.head, r, z, room.values.data(), out + row * s.actions);
    product({z + (long)r.reads * r.high.row(), WIDTH}, net.readout.right(),
            {room.low.data(), WIDTH}, agents, WIDTH, WIDTH, {s.ends[READOUT_BIAS]});
}

// Gradients as they are summed: of the folded blocks, and around them. HEAD is that of readout and
// head together; READOUT is that of the history alone.
struct Gradients {
    std::vector<std::vector<float>> parts;
    std::vector<float*> low, last, ends;
    Gradients(const Shape& s) {
        for (auto* block : {&low, &last})
            for (int name = 0; name < TENSORS; name++) block->push_back(part(size_of(name)));
        for (int k = 0; k < KINDS; k++)
            for (int n : {s.widths[k] * WIDTH, WIDTH}) ends.push_back(part(n));
        int columns = Head::columns_for(s);
        for (int n : {WIDTH * WIDTH, WIDTH, columns * WIDTH, columns}) ends.push_back(part(n));
        for (int n : {GATES * WIDTH, GATES * WIDTH, GATES, GATES}) ends.push_back(part(n));
    }
    float* part(size_t n) {
        parts.emplace_back(n, 0.0f);
        return parts.back().data();
    }
    // Add to the sums over all slabs and begin anew.
    void hand_over(Gradients& totals) {
        for (size_t i = 0; i < parts.size(); i++) {
            add(parts[i].data(), totals.parts[i].data(), parts[i].size());
            std::fill(parts[i].begin(), parts[i].end(), 0.0f);
        }
    }
    // The gradients of the tensors given; `to` begins with zeros.
    void give(const Shape& s, const Network& net, float* const* to) const {
        if (s.blocks == 2) unfold(s.low, low.data(), to);
        unfold(s.last, last.data(), to + (s.blocks - 1) * TENSORS);
        float* const* around = to + s.blocks * TENSORS;
        for (int k = 0; k < KINDS && s.embedded; k++) {
            turn(ends[EMBEDDING + 2 * k], s.widths[k], WIDTH, around[EMBEDDING + 2 * k]);
            std::copy_n(ends[EMBEDDING + 2 * k + 1], WIDTH, around[EMBEDDING + 2 * k + 1]);
        }
        net.head.unfold(s, ends[HEAD], ends[HEAD_BIAS], around);
        add(ends[READOUT], around[READOUT], WIDTH * WIDTH);
        add(ends[READOUT_BIAS], around[READOUT_BIAS], WIDTH);
        if (s.histories == 1) return;
        for (int name : {INPUT, HISTORY}) std::copy_n(ends[name], GATES * WIDTH, around[name]);
        for (int name : {INPUT_BIAS, HISTORY_BIAS}) std::copy_n(ends[name], GATES, around[name]);
    }
};

// d [reads + 1, P, WIDTH] before the readout, of the gradients of Q and of the next h_L.
void ends_back(const Shape& s, const Network& net, Gradients& g, const Rows& r, const float* z,
               const float* d_out, float* d_low, float* values, float* d) {
    int rows = r.reads * r.agents, columns = net.head.columns;
    Left d_values = {values, columns}, d_history = {d_low, WIDTH};
    spread_back(s, net.head, r, d_out, values);
    add_outer(d_values, columns, {z, WIDTH}, WIDTH, g.ends[HEAD], rows);
    add_columns(d_values, g.ends[HEAD_BIAS], rows, columns);
    product(d_values, net.head.back.right(), {d, WIDTH}, rows, columns, WIDTH);
    long at = (long)rows * WIDTH;
    add_outer(d_history, WIDTH, {z + at, WIDTH}, WIDTH, g.ends[READOUT], r.agents);
    add_columns(d_history, g.ends[READOUT_BIAS], r.agents, WIDTH);
    product(d_history, net.readout_back.right(), {d + at, WIDTH}, r.agents, WIDTH, WIDTH);
}

// One step back; room.low and room.high hold the gradients of the histories after it.
void step_back(const Shape& s, Network& net, Gradients& g, Room& room, int time, int agents,
               long row, float* tape, const float* d_out) {
    bool update = s.updates(time);
    Rows r(s, agents);
    Step step;
    Step::lay(&step, tape, r, update);
    const float *kept = s.kept ? s.kept + row * s.tokens() : nullptr, *given = step.y;
    float *z = room.x.data(), *d = room.a.data(), *dx = room.b.data();
    float *middle = room.c.data(), *dq = room.d.data();
    const Block& last = net.last;
    renew(step.high.xhat2, last.plain[NORM2], last.plain[NORM2_SHIFT], r.high.rows(), z);
    ends_back(s, net, g, r, z, d_out + row * s.actions, room.low.data(), room.values.data(), d);
    if (net.low) {
        renew(step.low.xhat2, net.low->plain[NORM2], net.low->plain[NORM2_SHIFT], r.low.rows(), z);
        given = z;
    }
    apply_back(last, g.last.data(), r.high, given, kept, step.high, d, middle, dq, dx);
    if (net.low) {
        std::swap(d, dx);
        apply_back(*net.low, g.low.data(), r.low, step.y, kept, step.low, d, middle, dq, dx);
    }
    Embedding::add_back(s, row, agents, dx, g.ends.data());
    long at = (long)s.entities * agents * WIDTH, one = (long)agents * WIDTH;
    std::memcpy(room.low.data(), dx + at, sizeof(float) * one);
    if (s.histories == 2) add(dx + at + one, room.high.data(), one);
    if (update)
        net.gru.back(step.h_low, step.h_high, step.gates, g.ends.data(), agents, room.low.data(),
                     room.high.data());
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
    return Step::lay(nullptr, nullptr, r, s.updates(time));
}

// One slab through all its steps from h = 0; gives the end of its tape.
float* slab_forward(const Shape& s, Network& net, Room& room, const std::vector<long>& before,
                    int first, int steps, float* tape, float* out) {
    std::fill(room.low.begin(), room.low.end(), 0.0f);
    std::fill(room.high.begin(), room.high.end(), 0.0f);
    for (int t = 0; t < steps; t++) {
        int agents = agents_at(s, t, first);
        step_forward(s, net, room, t, agents, before[t] + first, tape, out);
        if (tape) tape += step_size(s, t, first);
    }
    return tape;
}

// The way back of a slab; gives the end of its tape.
float* slab_back(const Shape& s, Network& net, Gradients& g, Room& room,
                 const std::vector<long>& before, int first, int steps, float* tape,
                 const float* d_out) {
    std::fill(room.low.begin(), room.low.end(), 0.0f);
    std::fill(room.high.begin(), room.high.end(), 0.0f);
    std::vector<float*> at(steps + 1, tape);
    for (int t = 0; t < steps; t++) at[t + 1] = at[t] + step_size(s, t, first);
    for (int t = steps - 1; t >= 0; t--)
        step_back(s, net, g, room, t, agents_at(s, t, first), before[t] + first, at[t], d_out);
    return at[steps];
}

}  // namespace

extern "C" {

int unroll_most_tokens() { return MOST_TOKENS; }

// Floats of the tape of all slabs, or of the largest one.
long unroll_tape(const Shape* shape, int of_one_slab) {
    long size = 0;
    each_slab(*shape, [&](int first, int steps) {
        long own = 0;
        for (int t = 0; t < steps; t++) own += step_size(*shape, t, first);
        size = of_one_slab ? std::max(size, own) : size + own;
    });
    return size;
}

// Q [rows, actions]; a null tape keeps nothing.
void unroll_forward(const Shape* shape, float* tape, float* out) {
    const Shape& s = *shape;
    Network net(s, false);
    Room room(s);
    std::vector<long> before = rows_before(s);
    each_slab(s, [&](int first, int steps) {
        tape = slab_forward(s, net, room, before, first, steps, tape, out);
    });
}

// The gradients of all tensors in the order low, last, ends, of d_out [rows, actions]; `to` begins
// with zeros, and those of given tokens go to `d_tokens`. The tape is that of `unroll_forward`; or,
// where `out` is not null, room for the largest slab's, and each slab goes forward once more and
// writes its Q to `out`.
void unroll_backward(const Shape* shape, float* tape, const float* d_out, float* const* to,
                     float* out) {
    const Shape& s = *shape;
    Network net(s, true);
    Room room(s);
    Gradients sums(s), totals(s);
    std::vector<long> before = rows_before(s);
    each_slab(s, [&](int first, int steps) {
        if (out) slab_forward(s, net, room, before, first, steps, tape, out);
        float* end = slab_back(s, net, sums, room, before, first, steps, tape, d_out);
        if (!out) tape = end;
        sums.hand_over(totals);
    });
    totals.give(s, net, to);
}
}
