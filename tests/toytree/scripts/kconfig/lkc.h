/* SPDX-License-Identifier: GPL-2.0-only */
/* As much of the kernel's Kconfig, under its names, as kconfigs/why.c of the harness asks for. */
#include <stdbool.h>

typedef enum { no, mod, yes } tristate;

enum expr_type { E_SYMBOL, E_NOT, E_AND, E_OR };
enum symbol_type { S_UNKNOWN, S_BOOLEAN, S_TRISTATE };
enum prop_type { P_PROMPT, P_MENU };

struct symbol;

union expr_data {
	struct expr *expr;
	struct symbol *sym;
};

struct expr {
	enum expr_type type;
	union expr_data left, right;
};

struct expr_value {
	struct expr *expr;
};

struct property {
	enum prop_type type;
	struct property *next;
	struct expr_value visible;
};

struct symbol {
	char *name;
	enum symbol_type type;
	struct property *prop;
	struct expr_value rev_dep;
	tristate visible, wanted, value;
	struct symbol *next;
};

struct gstr {
	char *text;
};

struct gstr str_new(void);
char *str_get(const struct gstr *text);
void str_free(struct gstr *text);
void expr_gstr_print(const struct expr *expr, struct gstr *text);
tristate expr_calc_value(const struct expr *expr);
struct symbol *sym_find(const char *name);
void sym_calc_value(struct symbol *symbol);
void *sym_get_choice_menu(const struct symbol *symbol);
void conf_parse(const char *path);
int conf_read(const char *path);
int conf_write(void);
