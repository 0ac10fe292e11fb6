/* descriptor.h: the exported rt_model constant. */
#ifndef CODEGEN_DESCRIPTOR_H
#define CODEGEN_DESCRIPTOR_H

#include "codegen/codegen.h"

void descriptor_emit(Emit *e, Arena *keep, const CodegenInput *in);

#endif
