/* SPDX-License-Identifier: Apache-2.0 */
/* number.h - numbers as text, the way Go's strconv writes and reads them; private to value/. */
#ifndef VALUE_NUMBER_H
#define VALUE_NUMBER_H

#include "base/str.h"

#define NUMBER_TEXT_MAX 40 /* a double of the 'f' form below 1e21 has at most 21 + 2 + 17 characters */

/* As encoding/json: plain within [1e-6, 1e21), else with an exponent. `d` is finite. */
size_t number_json(double d, char out[NUMBER_TEXT_MAX]);
/* As strconv's 'g' with the fewest digits: an exponent below 1e-4 and from 1e6 up. */
size_t number_general(double d, char out[NUMBER_TEXT_MAX]);
size_t number_general_single(double d, char out[NUMBER_TEXT_MAX]); /* with the digits that a float of 32 bits needs */
/* Decimal text, already checked by its grammar. False when it is beyond double. */
bool number_parse(struct str text, double *ret);

#endif
