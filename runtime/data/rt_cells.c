/* rt_cells.c: results of networks that classify every pixel: which pixels are wrong.
 *
 * requires: label_cells > 1, scores of classes * label_cells numbers per image.  Pixels whose label
 * is no class do not count.  Ties go to the lower class, as for pictures.
 */
#include "rt_model.h"

#include "rt_alloc.h"

static int64_t best_at(const rt_model *model, const float *scores, int64_t cell, int64_t cells) {
    int64_t best = 0;
    for (int64_t c = 1; c < model->classes; c++) {
        float a = scores[c * cells + cell], b = scores[best * cells + cell];
        if (model->smallest_wins ? a < b : a > b)
            best = c;
    }
    return best;
}

int rt_cells_count(const netrt *m, int program, int64_t n, const int32_t *map, rt_cells *sum,
                    int64_t *confusion, rt_error *err) {
    const rt_model *model = m->model;
    int tensor = model->program[program].output;
    int64_t cells = model->label_cells;
    if (tensor < 0 || cells < 2 ||
        rt_tensor_count(&model->program[program].tensor[tensor]) != model->classes * cells)
        return rt_fail(err, NETRT_EUSAGE, "%s has no scores for every pixel", model->name);
    float *scores = rt_alloc((size_t)(model->classes * cells), sizeof *scores, "scores", err);
    for (int64_t i = 0; scores && i < n; i++) {
        rt_tensor_read(m, program, tensor, i, scores);
        for (int64_t k = 0; k < cells; k++) {
            int64_t label = map[i * cells + k];
            if (label < 0 || label >= model->classes)
                continue;
            int64_t best = best_at(model, scores, k, cells);
            sum->counted++;
            sum->wrong += best != label;
            if (confusion)
                confusion[label * model->classes + best]++;
        }
    }
    rt_free(scores);
    return err->code;
}

double rt_cells_iu(const int64_t *confusion, int64_t classes) {
    double sum = 0;
    int64_t present = 0;
    for (int64_t c = 0; c < classes; c++) {
        int64_t all = -confusion[c * classes + c];
        for (int64_t k = 0; k < classes; k++)
            all += confusion[c * classes + k] + confusion[k * classes + c];
        if (all > 0) {
            sum += (double)confusion[c * classes + c] / (double)all;
            present++;
        }
    }
    return present ? sum / (double)present : 0;
}
