/* liburing: what C insists upon, then the library's own header. */
#pragma once
#define _GNU_SOURCE
#include <liburing.h>
