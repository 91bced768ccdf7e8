/* SPDX-License-Identifier: Apache-2.0 */
/* env_test.c - $(NAME) references, by the cases that upstream documents for its expansion. */
#include "../cases.h"
#include "kubelet/env.h"

static const struct expand_case {
	const char *name, *in, *out;
} expand_cases[] = {
	{ "whole", "$(VAR_A)", "A" },
	{ "two", "$(VAR_A)-$(VAR_B)", "A-B" },
	{ "around", "f000-$(VAR_A)-x", "f000-A-x" },
	{ "unknown stays", "$(NOPE)", "$(NOPE)" },
	{ "empty value", "-$(VAR_EMPTY)-", "--" },
	{ "escaped", "$$(VAR_A)", "$(VAR_A)" },
	{ "escaped twice", "$$$(VAR_A)", "$A" },
	{ "escaped three times", "$$$$(VAR_A)", "$$(VAR_A)" },
	{ "no reference", "$VAR_A", "$VAR_A" },
	{ "not closed", "$(VAR_A", "$(VAR_A" },
	{ "a dollar at the end", "cost: 5$", "cost: 5$" },
	{ "two dollars at the end", "cost: 5$$", "cost: 5$" },
	{ "inside another", "$($(VAR_A))", "$($(VAR_A))" },
	{ "value is not expanded again", "$(VAR_REF)", "$(VAR_A)" },
	{ "braces are text", "${VAR_A}", "${VAR_A}" },
	{ "empty name", "$()", "$()" },
	{ "nothing", "", "" },
};

static void test_expand(void **state) {
	const struct expand_case *c = *state;
	auto_arena struct arena a = { 0 };
	struct env e = { 0 };

	env_set(&e, S("VAR_A"), S("old"));
	env_set(&e, S("VAR_A"), S("A")); /* the later one counts */
	env_set(&e, S("VAR_B"), S("B"));
	env_set(&e, S("VAR_EMPTY"), S(""));
	env_set(&e, S("VAR_REF"), S("$(VAR_A)"));
	struct str out = env_expand(&a, str_c(c->in), &e);
	assert_int_equal(out.len, strlen(c->out));
	assert_memory_equal(out.ptr ? out.ptr : "", c->out, out.len);
	env_release(&e);
}

int main(void) {
	return RUN_CASES("expand", expand_cases, test_expand);
}
