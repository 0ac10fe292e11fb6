/* build_attack.c: what adversarial training adds to the programs (rt_abi.h, rt_adversary).
 *
 * pgd      attack: the net as training has it, whose losses `grad` follows to the image.
 * trades   attack: in the losses' place kl(scores of the clean pictures, scores), the former from
 *          input 1.  train: a second copy of what lies between the image and the scores reads the
 *          changed pictures from input 1, shares all parameters, and adds beta kl(scores, scores
 *          of the copy).  The copy has the dropout masks of the first and batch statistics of its
 *          own; running statistics are those of the clean pictures.
 * requires: the walk has reached its end; train.adversary is known behind the first walk.
 * theory: Madry et al. 2018, equation (2.1); Zhang et al. 2019, equation (5) and algorithm 1.
 */
#include "front/sema.h"
#include "ops/attrs.h"

enum { SECOND_INPUT = 1 };

bool adversary_fits(Build *b, const Val *at, bool trades) {
    Diag *d = NULL;
    if (b->m->ninputs != 1) {
        d = diag_error(b->diag, at->loc, "E0801",
                       "not built yet: adversarial training of a net with %d inputs of numbers",
                       b->m->ninputs);
        diag_help(d, "a net whose only input is a picture can have it");
    } else if (trades && (!b->score || b->score->shape.rank != 1 || b->m->smallest_wins)) {
        d = diag_error(b->diag, at->loc, "E0801",
                       "not built yet: trades where the output is no vector of scores");
        diag_help(d, "pgd(eps) attacks any loss");
    } else if (trades && b->mg->nlosses == 8) {
        d = diag_error(b->diag, at->loc, "E0130", "trades adds a loss, and a net has at most 8");
    }
    return !d;
}

static void mark_leading(const Graph *g, ValueId to, bool *leads) {
    leads[to] = true;
    for (NodeId id = g->nnode; id-- > 1;) { /* nodes were made in topological order */
        const Node *n = graph_n(g, id);
        bool any = false;
        for (int k = 0; k < n->nout; k++)
            any |= n->out[k] && leads[n->out[k]];
        for (int i = 0; any && i < n->nin; i++)
            leads[n->in[i]] = true;
    }
}

static NodeId copy_node(Build *b, NodeId id, const ValueId *twin) {
    Graph *g = b->g;
    const Node *n = graph_n(g, id);
    ValueId *in = ARENA_ARRAY(b->arena, n->nin, ValueId);
    for (int i = 0; i < n->nin; i++)
        in[i] = twin[n->in[i]] ? twin[n->in[i]] : n->in[i];
    NodeId made = graph_node(g, n->op, n->attrs, n->nin, in);
    n = graph_n(g, id);
    graph_n(g, made)->label = n->label;
    graph_n(g, made)->loc = n->loc;
    if (n->op == OP_BN)
        ((BnAttrs *)graph_n(g, made)->attrs)->momentum = 0;
    return made;
}

/* What `of` would be if `to` stood in the place of `from`. */
static ValueId made_from(Build *b, ValueId of, ValueId from, ValueId to) {
    Graph *g = b->g;
    uint32_t nodes = g->nnode;
    bool *leads = ARENA_ARRAY(b->arena, g->nvalue, bool);
    ValueId *twin = ARENA_ARRAY(b->arena, g->nvalue, ValueId);
    mark_leading(g, of, leads);
    twin[from] = to;
    for (NodeId id = 1; id < nodes; id++) {
        const Node *n = graph_n(g, id);
        bool other = false, wanted = false;
        for (int i = 0; i < n->nin; i++)
            other |= twin[n->in[i]] != 0;
        for (int k = 0; k < n->nout; k++)
            wanted |= n->out[k] && leads[n->out[k]];
        if (!other || !wanted)
            continue;
        NodeId made = copy_node(b, id, twin);
        n = graph_n(g, id);
        for (int k = 0; k < n->nout; k++)
            if (n->out[k])
                twin[n->out[k]] = graph_n(g, made)->out[k];
    }
    return twin[of];
}

static ValueId second_input(Build *b, const Shape *shape) {
    return graph_input(b->g, VK_INPUT, DT_F32, *shape, true, SECOND_INPUT, NULL);
}

static void add_kl(Build *b, ValueId clean, ValueId attacked, double weight) {
    LossAttrs a = {.weight = weight};
    ValueId in[2] = {clean, attacked}, kl = graph_op(b->g, OP_KL, &a, 2, in);
    graph_set_name(b->g, kl, "loss of attack"); /* no name that a spec can give */
    graph_v(b->g, kl)->keep = true;
    b->mg->loss_name[b->mg->nlosses] = "attack";
    b->mg->loss[b->mg->nlosses++] = kl;
}

void build_attack(Build *b) {
    const rt_adversary *t = &b->m->train.adversary;
    if (t->kind != RT_ADVERSARY_TRADES || !b->score)
        return;
    ValueId score = b->score->v;
    if (b->mode == MODEL_TRAIN) {
        ValueId image = graph_n(b->g, graph_v(b->g, b->mg->image)->def)->in[0];
        ValueId other = second_input(b, &graph_v(b->g, image)->shape);
        ValueId attacked = made_from(b, score, image, other);
        graph_set_name(b->g, attacked, "score of attack");
        graph_v(b->g, attacked)->keep = true;
        add_kl(b, score, attacked, t->beta);
    } else if (b->mode == MODEL_ATTACK) {
        for (int i = 0; i < b->mg->nlosses; i++)
            graph_v(b->g, b->mg->loss[i])->keep = false;
        b->mg->nlosses = 0;
        ValueId raw = second_input(b, &graph_v(b->g, score)->shape);
        add_kl(b, graph_op(b->g, OP_LOAD_INPUT, NULL, 1, &raw), score, 1);
    }
}
