/* SPDX-License-Identifier: Apache-2.0 */
/* image.h - `coracle image`. */
#ifndef CLUSTER_IMAGE_H
#define CLUSTER_IMAGE_H

int cmd_image(int argc, char **argv);

#endif
