/* rt_look.h: the program "look" as functions: record a picture, project an activation to pixels,
 * scan a data set for the strongest activations.
 *
 * theory: Zeiler and Fergus 2014, section 2.1 (deconvnet); Springenberg et al. 2015 (guided);
 * Simonyan et al. 2014 (gradient).  The three differ in the compiled chains only.
 */
#ifndef RT_LOOK_H
#define RT_LOOK_H

#include "rt_cli.h"

enum { RT_RULE_GRADIENT, RT_RULE_DECONVNET, RT_RULE_GUIDED, RT_RULES };
extern const char *const rt_rule_names[RT_RULES];

/* Index of a layer a projection can start from, -1 unknown. */
int rt_seed_find(const rt_model *model, const char *label);
/* Extents of seed layer `seed` as channels, height, width (rank 1: h = w = 1). */
void rt_seed_shape(const rt_model *model, int seed, int64_t chw[3]);

/* The layer that a parameter belongs to, -1: none.  "c1.conv1.weight" is c1's, "b.c1.weight" b.c1's and
 * not b's. */
int rt_seed_of_param(const rt_model *model, int param);

/* Room for images of one batch in the look program. */
typedef struct rt_look {
    netrt *m;
    int64_t cap;     /* images per record */
    float *seed;     /* one layer's values, logical, for each of `rooms` threads */
    float *other;    /* the same: what came from above, activations */
    int64_t seed_room;
    int rooms;       /* 1 at least */
    unsigned char *on; /* of each image: has its walk started? */
    int through;     /* gradient: what starts at a rectified layer passes units that are silent too,
                        as if it were asked for in front of the rectifier: lets a climb leave 0 */
    int (*in_place)(void *context, int layer, int64_t image, int tensor, int rectified, int add);
                     /* NULL, or what is asked before an rt_fill: may put the gradient into `tensor`
                        itself (where rectified, only at active units; add: to what is there) and
                        answer 1 */
    int (*wants)(void *context, int layer, int64_t image);
                     /* NULL, or: does anything of this image start at this layer?  Where nothing does,
                        neither is filled nor is the image's walk begun; images whose walk begins
                        early should come first */
    int serial;      /* fill and in_place are called by one thread, with room 0 */
} rt_look;
int rt_look_open(rt_look *l, netrt *m, int64_t cap, rt_error *err);
void rt_look_close(rt_look *l);

/* Runs "record" on the n images that the frame points to. */
int rt_look_record(rt_look *l, int64_t n, rt_error *err);
/* The same, of each image only as far as the kernel end[image] (rt_look_end): what is behind keeps what
 * it had.  Images that go far should come first. */
int rt_look_record_to(rt_look *l, const int *end, int64_t n, rt_error *err);
int rt_look_end(const rt_look *l, int seed);
/* n images as far as one layer. */
int rt_look_record_layer(rt_look *l, int seed, int64_t n, rt_error *err);
/* The same for all images, as far as the layers seed[0..nseeds-1] and walks from them need it. */
int rt_look_record_for(rt_look *l, const int *seed, int nseeds, int64_t n, rt_error *err);

typedef struct rt_unit {
    int64_t c, y, x;
} rt_unit;
/* For each of the n recorded images: seeds unit[i] of the layer with value[i] (0 elsewhere) and runs
 * the rule down to the image; diff gets n * c*h*w floats of input slot 0, planes first.
 * EUSAGE: the rule does not exist for this network or layer (text says what to use instead). */
int rt_look_project(rt_look *l, int rule, int seed, const rt_unit *unit, const float *value,
                    int64_t n, float *diff, rt_error *err);

/* The same from more than a unit: of each recorded image all activations of the layer, of map
 * unit[i].c alone when `unit` is given. */
int rt_look_project_maps(rt_look *l, int rule, int seed, const rt_unit *unit, int64_t n,
                         float *diff, rt_error *err);
/* Every max pool of the n recorded images forgets which cell won: until the next recording all
 * rules unpool to the centre of the window, ((k - 1) / 2 from its first cell), or the cell of the image
 * nearest to it.  Returns the number of pools. */
int rt_look_centre_switches(rt_look *l, int64_t n);

/* The gradient of something that a caller makes of a layer's activations: fill() writes all of one
 * image's numbers, d something / d activation, planes first.  `layer` of those given to
 * rt_look_back; room: below rt_look.rooms, another one for each thread at a time. */
typedef void (*rt_fill)(void *context, int layer, int64_t image, int room, float *diff);
/* For each of the n recorded images: the gradients at the layers seed[0..nseeds-1] (at most
 * RT_BACK_MAX, all different) go down to the image by the rule in one walk; where the walk reaches a
 * layer that is named, its gradient is added to what came from above.  diff as rt_look_project. */
enum { RT_BACK_MAX = 64 };
int rt_look_back(rt_look *l, int rule, const int *seed, int nseeds, rt_fill fill, void *context,
                 int64_t n, float *diff, rt_error *err);

/* A walk that stops: the gradient of one unit of recorded image 0, started with 1, goes down, and at
 * every layer that it meets, the unit's first, stop() is called when that layer's diff is complete.  It
 * may read and change the diff; it must then run the kernels first .. end-1 (rt_look_run), which lead
 * to the next layer.  Layers beside the way have diffs of 0.  diff as rt_look_project. */
typedef int (*rt_stop)(void *context, int seed, int first, int end, rt_error *err);
int rt_look_walk(rt_look *l, int seed, rt_unit unit, rt_stop stop, void *context, float *diff,
                 rt_error *err);
int rt_look_run(rt_look *l, int first, int end, rt_error *err);
void rt_look_read_diff(const rt_look *l, int seed, float *diff);
void rt_look_write_diff(rt_look *l, int seed, const float *diff);
/* The layers that such a walk meets, in its order: at most nseeds of the program. */
int rt_look_way(const rt_look *l, int seed, int *way);

/* Operations per image of recording and of a gradient's walk from these layers to the pixels. */
double rt_look_flops(const rt_look *l, const int *seed, int nseeds);

/* Activations of a recorded image, planes first; of one unit. */
void rt_look_values(const rt_look *l, int seed, int64_t image, float *values);
float rt_look_value(rt_look *l, int seed, int64_t image, rt_unit unit);

/* One of the strongest activations of a map. */
typedef struct rt_peak {
    float value;
    int64_t sample; /* -1: none */
    int64_t y, x;
} rt_peak;
enum { RT_TOP = 9 };
/* top[map * RT_TOP + rank] over `limit` samples (0: all), one peak per image and map; ties go to the
 * earlier sample and position.  One pass serves all layers in seed[0..nseeds-1]; top[k] must have
 * room for maps(k) * RT_TOP. */
int rt_look_scan(rt_cli *cli, rt_look *l, rt_feed *feed, int64_t limit, const int *seed, int nseeds,
                 rt_peak **top, rt_error *err);

/* Receptive field of a unit on the image: rectangle, possibly reaching over the borders. */
typedef struct rt_rect {
    int64_t y, x, h, w;
} rt_rect;
rt_rect rt_unit_field(const rt_model *model, int seed, int64_t y, int64_t x);

#endif
