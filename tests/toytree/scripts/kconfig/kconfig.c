// SPDX-License-Identifier: GPL-2.0-only
/*
 * A little of Kconfig: bool and tristate symbols with a prompt, "depends on" with && and !, "source". No choices, no
 * selects, no defaults.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkc.h"

static struct symbol *symbols, **last = &symbols;

static void *make(size_t size)
{
	void *made = calloc(1, size);

	if (!made)
		exit(1);
	return made;
}

struct gstr str_new(void)
{
	return (struct gstr){ make(4096) };
}

char *str_get(const struct gstr *text)
{
	return text->text;
}

void str_free(struct gstr *text)
{
	free(text->text);
}

struct symbol *sym_find(const char *name)
{
	struct symbol *symbol = symbols;

	while (symbol && strcmp(symbol->name, name))
		symbol = symbol->next;
	return symbol;
}

static struct symbol *sym_lookup(const char *name)
{
	struct symbol *symbol = sym_find(name);

	if (!symbol) {
		symbol = *last = make(sizeof(*symbol));
		symbol->name = strdup(name);
		last = &symbol->next;
	}
	return symbol;
}

void *sym_get_choice_menu(const struct symbol *symbol)
{
	(void)symbol;
	return NULL;
}

tristate expr_calc_value(const struct expr *expr)
{
	tristate left, right;

	if (!expr)
		return yes;
	if (expr->type == E_SYMBOL) {
		sym_calc_value(expr->left.sym);
		return expr->left.sym->value;
	}
	left = expr_calc_value(expr->left.expr);
	if (expr->type == E_NOT)
		return yes - left;
	right = expr_calc_value(expr->right.expr);
	return left < right ? left : right;
}

void expr_gstr_print(const struct expr *expr, struct gstr *text)
{
	if (expr->type == E_SYMBOL) {
		sprintf(text->text + strlen(text->text), "%s [=%c]", expr->left.sym->name,
			"nmy"[expr_calc_value(expr)]);
		return;
	}
	if (expr->type == E_NOT)
		strcat(text->text, "!");
	expr_gstr_print(expr->left.expr, text);
	if (expr->type == E_AND) {
		strcat(text->text, " && ");
		expr_gstr_print(expr->right.expr, text);
	}
}

void sym_calc_value(struct symbol *symbol)
{
	symbol->visible = symbol->prop ? expr_calc_value(symbol->prop->visible.expr) : no;
	symbol->value = symbol->wanted < symbol->visible ? symbol->wanted : symbol->visible;
	if (symbol->type == S_BOOLEAN && symbol->value == mod)
		symbol->value = yes;
}

static struct expr *node(enum expr_type type, void *left, struct expr *right)
{
	struct expr *expr = make(sizeof(*expr));

	expr->type = type;
	expr->left.expr = left;
	expr->right.expr = right;
	return expr;
}

static struct expr *depends(struct expr *expr, char *words)
{
	char *word;

	for (word = strtok(words, " &"); word; word = strtok(NULL, " &")) {
		struct expr *leaf = node(E_SYMBOL, sym_lookup(word + (*word == '!')), NULL);

		if (*word == '!')
			leaf = node(E_NOT, leaf, NULL);
		expr = expr ? node(E_AND, expr, leaf) : leaf;
	}
	return expr;
}

void conf_parse(const char *path)
{
	char place[4096], line[4096], name[256];
	struct symbol *symbol = NULL;
	FILE *file;

	snprintf(place, sizeof(place), "%s/%s", getenv("srctree"), path);
	file = fopen(place, "r");
	if (!file) {
		perror(place);
		exit(1);
	}
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		if (sscanf(line, "config %255s", name) == 1) {
			symbol = sym_lookup(name);
			symbol->prop = make(sizeof(*symbol->prop));
		} else if (sscanf(line, "source \"%255[^\"]", name) == 1) {
			conf_parse(name);
		} else if (symbol && !strncmp(line, "\tbool ", 6)) {
			symbol->type = S_BOOLEAN;
		} else if (symbol && !strncmp(line, "\ttristate ", 10)) {
			symbol->type = S_TRISTATE;
		} else if (symbol && !strncmp(line, "\tdepends on ", 12)) {
			symbol->prop->visible.expr = depends(symbol->prop->visible.expr, line + 12);
		}
	}
	fclose(file);
}

static const char *config(void)
{
	return getenv("KCONFIG_CONFIG") ? getenv("KCONFIG_CONFIG") : ".config";
}

int conf_read(const char *path)
{
	FILE *file = fopen(path ? path : config(), "r");
	char line[4096], name[256], value;
	struct symbol *symbol;

	if (!file)
		return 1;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "# CONFIG_%255s is not set", name) == 1)
			value = 'n';
		else if (sscanf(line, "CONFIG_%255[A-Za-z0-9_]=%c", name, &value) != 2)
			continue;
		symbol = sym_find(name);
		if (symbol)
			symbol->wanted = value == 'y' ? yes : value == 'm' ? mod : no;
	}
	fclose(file);
	return 0;
}

int conf_write(void)
{
	FILE *file = fopen(config(), "w");
	struct symbol *symbol;

	if (!file)
		return 1;
	for (symbol = symbols; symbol; symbol = symbol->next) {
		sym_calc_value(symbol);
		if (symbol->value != no)
			fprintf(file, "CONFIG_%s=%c\n", symbol->name, "nmy"[symbol->value]);
		else if (symbol->visible != no)
			fprintf(file, "# CONFIG_%s is not set\n", symbol->name);
	}
	return fclose(file);
}
