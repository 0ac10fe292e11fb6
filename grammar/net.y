/* net.y: the grammar of .net files (LANGUAGE.md): builds the tree, knows no semantics.
 *
 * LALR(1) without conflicts.  Lists start empty on the left and resynchronise at SEP, so one mistake
 * costs one statement; heads of blocks resynchronise at '{', so a broken head does not hide its body.
 * All nodes live in the arena, hence no %destructor.  Tokens come from front/tokens.c.
 */
%require "3.8"
%define api.pure full
%define api.prefix {net_y}
%define api.token.prefix {T_}
%define api.location.type {LocRange}
%define parse.error custom
%define parse.lac full
%locations
%expect 0
%param {struct ParseState *st}

%code requires {
#include "front/parse_state.h"
}
%code provides {
int net_ylex(NET_YSTYPE *value, LocRange *loc, ParseState *st);
}
%code {
static void net_yerror(LocRange *loc, ParseState *st, const char *message);

#define YYLLOC_DEFAULT(Current, Rhs, N)                                                            \
    ((Current) = (N) ? (LocRange){YYRHSLOC(Rhs, 1).begin, YYRHSLOC(Rhs, N).end}                    \
                     : (LocRange){YYRHSLOC(Rhs, 0).end, YYRHSLOC(Rhs, 0).end})
#define RECOVERED                                                                                  \
    do {                                                                                           \
        yyerrok;                                                                                   \
        st->recovering = false;                                                                    \
    } while (0)
}

%union {
    Ast *ast;
    AstVec list;
    const char *name;
}
%initial-action { @$ = (LocRange){st->file->base, st->file->base}; }

%token START_FILE START_EXPR NEWLINE
%token YYEOF 0 "end of file"
%token SEP "end of statement"
%token <name> ID "name" SECTION "section" LOSS "'loss'" METRIC "'metric'"
%token <ast> NUM "number" DIM "extent" STR "string"
%token ARROW "'->'" DOTDOT "'..'" OR "'||'" AND "'&&'" EQ "'=='" NE "'!='" LE "'<='" GE "'>='"
%token INCLUDE "'include'" CONST "'const'" BLOCK "'block'" NET "'net'" VARIANTS "'variants'"
%token EXTENDS "'extends'" OF "'of'" INPUT "'input'" OUTPUT "'output'" PARAM "'param'"
%token REPEAT "'repeat'" IF "'if'" ELSE "'else'" OUT "'out'" IN "'in'" AS "'as'"
%token REMOVE "'remove'" FREEZE "'freeze'" SET "'set'" REPLACE "'replace'" INSERT "'insert'"
%token WITH "'with'" AFTER "'after'" BEFORE "'before'"

%nonassoc DOTDOT
%left OR
%left AND
%nonassoc EQ NE LE GE '<' '>'
%left '+' '-'
%left '*' '/' '%'
%precedence UNARY

%type <list> items formals formals_opt formal_list members cases args args_opt arg_list exprs exprs_opt
%type <list> body_items chains targets entries parts
%type <ast> item const block net variants case formal member common type body stmt repeat if else
%type <ast> chain stage prim path call arg edit target section entry expr loss
%type <list> stages

%%

start: START_FILE items         { st->result = node(st, AST_FILE, @$);
                                  st->result->file.items = list_of(st, $2);
                                  st->result->file.path = st->file->path;
                                  done(st, st->result); }
     | START_EXPR seps expr seps { st->result = $3; }
     | START_EXPR error          { st->result = NULL; }
     ;
seps: %empty | seps SEP ;

/* ---- file level ---- */
items: %empty                   { $$ = vec_none(); }
     | items SEP
     | items item SEP           { $$ = vec_with(st, $1, $2); }
     | items error SEP          { RECOVERED; }
     ;
item: INCLUDE STR               { $$ = named(st, AST_INCLUDE, @$, $2->name, @2);
                                  parse_include(st, $$, @2); }
    | const
    | block
    | net
    | variants
    ;
const: CONST ID '=' expr        { $$ = named(st, AST_CONST, @$, $2, @2);
                                  $$->constant.value = $4; done(st, $$); }
     ;
block: BLOCK ID '(' formals ')' body
                                { $$ = named(st, AST_BLOCK, @$, $2, @2);
                                  $$->block.formals = list_of(st, $4);
                                  $$->block.body = $6; done(st, $$); }
     | BLOCK error resumed      { $$ = NULL; }
     ;
formals: %empty                 { $$ = vec_none(); }
       | formal_list
       | formal_list ','
       ;
formals_opt: %empty             { $$ = vec_none(); }
       | '(' formals ')'        { $$ = $2; }
       ;
formal_list: formal             { $$ = vec_with(st, vec_none(), $1); }
       | formal_list ',' formal { $$ = vec_with(st, $1, $3); }
       ;
formal: ID                      { $$ = done(st, named(st, AST_FORMAL, @$, $1, @1)); }
      | ID '=' expr             { $$ = named(st, AST_FORMAL, @$, $1, @1);
                                  $$->formal.value = $3; done(st, $$); }
      ;
net: NET ID formals_opt '{' members '}'
                                { $$ = named(st, AST_NET, @$, $2, @2);
                                  $$->net.formals = list_of(st, $3);
                                  $$->net.base_args = list_of(st, vec_none());
                                  $$->net.members = list_of(st, $5); done(st, $$); }
   | NET ID formals_opt EXTENDS ID args_opt '{' members '}'
                                { $$ = named(st, AST_NET, @$, $2, @2);
                                  $$->net.formals = list_of(st, $3);
                                  $$->net.base = $5; $$->net.base_loc = @5;
                                  $$->net.base_args = list_of(st, $6);
                                  $$->net.members = list_of(st, $8); done(st, $$); }
   | NET error '{' { RECOVERED; } members '}'   { $$ = NULL; }
   ;
args_opt: %empty                { $$ = vec_none(); }
        | '(' args ')'          { $$ = $2; }
        ;
variants: VARIANTS ID OF ID '{' cases '}'
                                { $$ = named(st, AST_VARIANTS, @$, $2, @2);
                                  $$->variants.of = $4; $$->variants.of_loc = @4;
                                  $$->variants.cases = list_of(st, $6); done(st, $$); }
        | VARIANTS error '{' { RECOVERED; } cases '}'   { $$ = NULL; }
        ;
cases: %empty                   { $$ = vec_none(); }
     | cases SEP
     | cases case SEP           { $$ = vec_with(st, $1, $2); }
     | cases error SEP          { RECOVERED; }
     ;
case: ID '{' members '}'        { $$ = named(st, AST_VARIANT, @$, $1, @1);
                                  $$->variant.members = list_of(st, $3); done(st, $$); }
    | STR '{' members '}'       { $$ = named(st, AST_VARIANT, @$, $1->name, @1);
                                  $$->variant.quoted = true;
                                  $$->variant.members = list_of(st, $3); done(st, $$); }
    ;

/* ---- members of a net ---- */
members: %empty                 { $$ = vec_none(); }
       | members SEP
       | members member SEP     { $$ = vec_with(st, $1, $2); }
       | members error SEP      { RECOVERED; }
       ;
member: common
      | edit
      | section
      | loss
      | INPUT ID ':' type       { $$ = named(st, AST_INPUT, @$, $2, @2);
                                  $$->input.type = $4; done(st, $$); }
      | OUTPUT arg_list         { $$ = node(st, AST_OUTPUT, @$);
                                  $$->output.args = list_of(st, $2); done(st, $$); }
      | PARAM ID ':' type '=' expr
                                { $$ = named(st, AST_PARAM, @$, $2, @2);
                                  $$->param.type = $4; $$->param.value = $6; done(st, $$); }
      | ID '{' { bad_section(st, @1, $1); } entries '}'      { $$ = NULL; }
      ;
common: const | stmt | repeat | if ;
loss: LOSS ID ':' call          { $$ = named(st, AST_LOSS, @$, $2, @2);
                                  $$->loss.call = $4; done(st, $$); }
    | METRIC ID ':' call        { $$ = named(st, AST_METRIC, @$, $2, @2);
                                  $$->loss.call = $4; done(st, $$); }
    ;
type: ID '[' exprs_opt ']'      { $$ = named(st, AST_TYPE, @$, $1, @1);
                                  $$->type.dims = list_of(st, $3); done(st, $$); }
    | '[' exprs_opt ']'         { $$ = node(st, AST_TYPE, @$);
                                  $$->type.dims = list_of(st, $2); done(st, $$); }
    ;
section: SECTION '{' entries '}'
                                { $$ = named(st, AST_SECTION, @$, $1, @1);
                                  $$->section.entries = list_of(st, $3); done(st, $$); }
       | SECTION ID '{' entries '}'
                                { $$ = named(st, AST_SECTION, @$, $1, @1);
                                  $$->section.title = $2; $$->section.title_loc = @2;
                                  $$->section.entries = list_of(st, $4); done(st, $$); }
       ;
entries: %empty                 { $$ = vec_none(); }
       | entries SEP
       | entries entry SEP      { $$ = vec_with(st, $1, $2); }
       | entries error SEP      { RECOVERED; }
       ;
entry: path '=' expr            { $$ = named(st, AST_SETTING, @$, $1->path.dotted, @1);
                                  $$->setting.path = $1; $$->setting.value = $3; done(st, $$); }
     | path ':' call            { $$ = named(st, AST_JOB, @$, $1->path.dotted, @1);
                                  $$->job.path = $1; $$->job.call = $3; done(st, $$); }
     ;

/* ---- edits ---- */
edit: REMOVE targets            { $$ = node(st, AST_REMOVE, @$);
                                  $$->edit.targets = list_of(st, $2); done(st, $$); }
    | FREEZE targets            { $$ = node(st, AST_FREEZE, @$);
                                  $$->edit.targets = list_of(st, $2); done(st, $$); }
    | SET path '=' expr         { $$ = node(st, AST_SET, @$);
                                  $$->set.path = $2; $$->set.value = $4; done(st, $$); }
    | REPLACE path WITH chain   { $$ = node(st, AST_REPLACE, @$);
                                  $$->splice.path = $2; $$->splice.chain = $4; done(st, $$); }
    | INSERT chain AFTER path   { $$ = node(st, AST_INSERT, @$);
                                  $$->splice.path = $4; $$->splice.chain = $2; done(st, $$); }
    | INSERT chain BEFORE path  { $$ = node(st, AST_INSERT, @$); $$->splice.before = true;
                                  $$->splice.path = $4; $$->splice.chain = $2; done(st, $$); }
    ;
targets: target                 { $$ = vec_with(st, vec_none(), $1); }
       | targets ',' target     { $$ = vec_with(st, $1, $3); }
       ;
target: path                    { $$ = node(st, AST_TARGET, @$);
                                  $$->target.from = $1; done(st, $$); }
      | path DOTDOT path        { $$ = node(st, AST_TARGET, @$);
                                  $$->target.from = $1; $$->target.to = $3; done(st, $$); }
      | STR                     { $$ = done(st, named(st, AST_TARGET, @$, $1->name, @1)); }
      ;

/* ---- statements ---- */
body: '{' body_items '}'        { $$ = node(st, AST_BODY, @$);
                                  $$->body.items = list_of(st, $2); done(st, $$); }
    ;
resumed: '{' { RECOVERED; } body_items '}' ; /* behind a broken head */
body_items: %empty              { $$ = vec_none(); }
    | body_items SEP
    | body_items common SEP     { $$ = vec_with(st, $1, $2); }
    | body_items error SEP      { RECOVERED; }
    ;
stmt: chain                     { $$ = node_stmt(st, @$, NULL, $1, false); }
    | path ':' chain            { $$ = node_stmt(st, @$, $1, $3, false); }
    | OUT chain                 { $$ = node_stmt(st, @$, NULL, $2, true); }
    ;
repeat: REPEAT expr body        { $$ = node(st, AST_REPEAT, @$);
                                  $$->repeat.count = $2; $$->repeat.body = $3; done(st, $$); }
      | REPEAT ID IN expr body  { $$ = named(st, AST_REPEAT, @$, $2, @2);
                                  $$->repeat.count = $4; $$->repeat.body = $5; done(st, $$); }
      | REPEAT error resumed    { $$ = NULL; }
      ;
if: IF expr body else           { $$ = node(st, AST_IF, @$);
                                  $$->branch.cond = $2; $$->branch.then = $3;
                                  $$->branch.otherwise = $4; done(st, $$); }
  | IF error resumed else       { $$ = NULL; }
  ;
else: %empty                    { $$ = NULL; }
    | ELSE body                 { $$ = $2; }
    | ELSE if                   { $$ = $2; }
    ;
chain: stages                   { $$ = node(st, AST_CHAIN, @$);
                                  $$->chain.stages = list_of(st, $1); done(st, $$); }
     ;
stages: stage                   { $$ = vec_with(st, vec_none(), $1); }
      | stages ARROW stage      { $$ = vec_with(st, $1, $3); }
      ;
stage: prim                     { $$ = node(st, AST_STAGE, @$);
                                  $$->stage.prim = $1; done(st, $$); }
     | prim AS path             { $$ = node(st, AST_STAGE, @$);
                                  $$->stage.prim = $1; $$->stage.as = $3; done(st, $$); }
     | '[' chains ']'           { $$ = node(st, AST_FORK, @$);
                                  $$->fork.branches = list_of(st, $2); done(st, $$); }
     | '[' chains ',' ']'       { $$ = node(st, AST_FORK, @$);
                                  $$->fork.branches = list_of(st, $2); done(st, $$); }
     ;
chains: chain                   { $$ = vec_with(st, vec_none(), $1); }
      | chains ',' chain        { $$ = vec_with(st, $1, $3); }
      ;
prim: path
    | call
    | IN                        { $$ = done(st, node(st, AST_IN, @$)); }
    ;

/* ---- paths, calls, expressions ---- */
path: parts                     { $$ = node_path(st, @$, $1); }
    ;
parts: ID                       { $$ = vec_with(st, vec_none(),
                                         done(st, named(st, AST_NAME, @1, $1, @1))); }
     | parts '.' ID             { $$ = vec_with(st, $1,
                                         done(st, named(st, AST_NAME, @3, $3, @3))); }
     | parts '[' expr ']'       { Ast *index = node(st, AST_INDEX,
                                                    (LocRange){@2.begin, @4.end});
                                  index->index.value = $3;
                                  $$ = vec_with(st, $1, done(st, index)); }
     ;
call: path '(' args ')'         { $$ = node_call(st, @$, $1, $3); }
    ;
args: %empty                    { $$ = vec_none(); }
    | arg_list
    | arg_list ','
    ;
arg_list: arg                   { $$ = vec_with(st, vec_none(), $1); }
        | arg_list ',' arg      { $$ = vec_with(st, $1, $3); }
        ;
arg: expr                       { $$ = node(st, AST_ARG, @$);
                                  $$->arg.value = $1; done(st, $$); }
   | ID '=' expr                { $$ = named(st, AST_ARG, @$, $1, @1);
                                  $$->arg.value = $3; done(st, $$); }
   ;
exprs_opt: %empty               { $$ = vec_none(); }
         | exprs
         | exprs ','
         ;
exprs: expr                     { $$ = vec_with(st, vec_none(), $1); }
     | exprs ',' expr           { $$ = vec_with(st, $1, $3); }
     ;
expr: NUM
    | DIM
    | STR
    | path
    | call
    | IN                        { $$ = done(st, node(st, AST_IN, @$)); }
    | '[' exprs_opt ']'         { $$ = node(st, AST_LIST, @$);
                                  $$->list.items = list_of(st, $2); done(st, $$); }
    | '(' expr ')'              { $$ = $2; }
    | '-' expr %prec UNARY      { $$ = node_expr(st, AST_UNARY, @$, AST_OP_NEG, $2, NULL); }
    | '!' expr %prec UNARY      { $$ = node_expr(st, AST_UNARY, @$, AST_OP_NOT, $2, NULL); }
    | expr DOTDOT expr          { $$ = node_expr(st, AST_RANGE, @$, 0, $1, $3); }
    | expr OR expr              { $$ = node_expr(st, AST_BINARY, @$, AST_OP_OR, $1, $3); }
    | expr AND expr             { $$ = node_expr(st, AST_BINARY, @$, AST_OP_AND, $1, $3); }
    | expr EQ expr              { $$ = node_expr(st, AST_BINARY, @$, AST_OP_EQ, $1, $3); }
    | expr NE expr              { $$ = node_expr(st, AST_BINARY, @$, AST_OP_NE, $1, $3); }
    | expr LE expr              { $$ = node_expr(st, AST_BINARY, @$, AST_OP_LE, $1, $3); }
    | expr GE expr              { $$ = node_expr(st, AST_BINARY, @$, AST_OP_GE, $1, $3); }
    | expr '<' expr             { $$ = node_expr(st, AST_BINARY, @$, AST_OP_LT, $1, $3); }
    | expr '>' expr             { $$ = node_expr(st, AST_BINARY, @$, AST_OP_GT, $1, $3); }
    | expr '+' expr             { $$ = node_expr(st, AST_BINARY, @$, AST_OP_ADD, $1, $3); }
    | expr '-' expr             { $$ = node_expr(st, AST_BINARY, @$, AST_OP_SUB, $1, $3); }
    | expr '*' expr             { $$ = node_expr(st, AST_BINARY, @$, AST_OP_MUL, $1, $3); }
    | expr '/' expr             { $$ = node_expr(st, AST_BINARY, @$, AST_OP_DIV, $1, $3); }
    | expr '%' expr             { $$ = node_expr(st, AST_BINARY, @$, AST_OP_MOD, $1, $3); }
    ;

%%

/* Only "memory exhausted" comes here (the parser's stack cap); syntax errors go below. */
static void net_yerror(LocRange *loc, ParseState *st, const char *message)
{
    (void)message;
    report_too_deep(st, *loc);
}

static int yyreport_syntax_error(const yypcontext_t *context, ParseState *st)
{
    enum { ROOM = YYNTOKENS };
    yysymbol_kind_t kinds[ROOM];
    const char *names[ROOM];
    yysymbol_kind_t token = yypcontext_token(context);
    int count = yypcontext_expected_tokens(context, kinds, ROOM);

    for (int i = 0; i < count; i++)
        names[i] = yysymbol_name(kinds[i]);
    report_syntax(st, token == YYSYMBOL_YYEMPTY ? 0 : st->last,
                  token == YYSYMBOL_YYEMPTY ? "text" : yysymbol_name(token),
                  *yypcontext_location(context), names, count < 0 ? 0 : count);
    return 0;
}
