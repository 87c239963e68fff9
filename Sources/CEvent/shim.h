/* libevent's HTTP server, and nothing else. */
#pragma once
/* fd_set first, as Swift's own module of the C library has it: libevent asks for _GNU_SOURCE, which renames its member. */
#include <sys/select.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
