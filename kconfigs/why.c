/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Why does a .config not have what was asked for? The tree's own Kconfig answers: this is linked with the objects that
 * `make olddefconfig` has left in scripts/kconfig, and run with the environment that make gives to them.
 *
 * For each SYMBOL (without CONFIG_) one line or more: SYMBOL, a tab, a word, a tab, text.
 *   unknown    the tree has no such symbol
 *   prompt     nobody can set it: it has no prompt, others select it
 *   depends    an expression that is not true and has to be, with the values of the symbols in it
 *   selected   an expression that is true and forces it on
 *   choice     another one of the same choice has been taken
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkc.h"

static void say(const char *name, const char *word, const struct expr *expr)
{
	struct gstr text = str_new();

	if (expr)
		expr_gstr_print(expr, &text);
	printf("%s\t%s\t%s\n", name, word, expr ? str_get(&text) : "");
	str_free(&text);
}

/* Of "A && B && C" only what is not true. */
static void blame(const char *name, struct expr *expr)
{
	if (!expr || expr_calc_value(expr) == yes)
		return;
	if (expr->type == E_AND) {
		blame(name, expr->left.expr);
		blame(name, expr->right.expr);
		return;
	}
	say(name, "depends", expr);
}

/* Of "A || B || C", each a symbol that selects with its condition, only what is true. */
static void credit(const char *name, struct expr *expr)
{
	if (!expr || expr_calc_value(expr) == no)
		return;
	if (expr->type == E_OR) {
		credit(name, expr->left.expr);
		credit(name, expr->right.expr);
		return;
	}
	say(name, "selected", expr);
}

static void explain(const char *name)
{
	struct symbol *symbol = sym_find(name);
	struct property *property;
	bool prompt = false;

	if (!symbol || symbol->type == S_UNKNOWN) {
		say(name, "unknown", NULL);
		return;
	}
	sym_calc_value(symbol);
	credit(name, symbol->rev_dep.expr);
	for (property = symbol->prop; property; property = property->next) {
		if (property->type != P_PROMPT && property->type != P_MENU) /* of a config, and of a menuconfig */
			continue;
		prompt = true;
		/* It has all that the symbol depends on in it, and the prompt's own condition. */
		blame(name, property->visible.expr);
	}
	if (!prompt)
		say(name, "prompt", NULL);
	else if (symbol->visible != no && sym_get_choice_menu(symbol))
		say(name, "choice", NULL);
}

int main(int argc, char **argv)
{
	int at;

	if (argc < 3)
		return 2;
	conf_parse(argv[1]);
	if (conf_read(NULL))
		return 1;
	for (at = 2; at < argc; at++)
		explain(argv[at]);
	return 0;
}
