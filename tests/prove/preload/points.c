/*
 * Named points at which the process kills itself as `kill -9` would, and the calls that fail.
 * Nothing of this is in the engine: the points are its calls of the operating system.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "state.h"

/* Set by what a node says; the next write of the journal may carry a result. */
static int heard, result_written;
static int is_open;

int fails(enum fault first, enum fault second, int error) {
    uint32_t fault = __atomic_load_n(&control->fault, __ATOMIC_SEQ_CST);
    if (fault == FAULT_NONE || (fault != first && fault != second)) return 0;
    __atomic_fetch_add(&control->failed, 1, __ATOMIC_SEQ_CST);
    errno = error;
    return 1;
}

int fails_any_write(void) {
    return fails(FAULT_WRITE, FAULT_NONE, EIO) || fails(FAULT_FULL, FAULT_NONE, ENOSPC) ||
           fails(FAULT_READ_ONLY, FAULT_NONE, EROFS);
}

void at(enum point point) {
    if (point == POINT_IN_RECOVERY && is_open) return;
    __atomic_fetch_add(&control->passed[point], 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&control->point, __ATOMIC_SEQ_CST) != (uint32_t)point) return;
    if (__atomic_sub_fetch(&control->countdown, 1, __ATOMIC_SEQ_CST) == 0) {
        syscall(SYS_kill, getpid(), SIGKILL);
    }
}

static int is_projector(void) {
    char name[16] = "";
    prctl(PR_GET_NAME, name);
    return strcmp(name, "projector") == 0;
}

/* A row of the snapshots' family (number 7) with its key of 12 bytes, as RocksDB logs it. */
static int is_snapshot(const void *bytes, size_t length) {
    return memmem(bytes, length < 64 ? length : 64, "\x05\x07\x0c", 3) != NULL;
}

void before_write(enum kind kind, const void *bytes, size_t length) {
    at(POINT_IN_RECOVERY);
    if (kind == TABLE) at(POINT_IN_FLUSH);
    if (kind == MANIFEST) at(POINT_IN_MANIFEST);
    if (kind != LOG) return;
    if (is_projector()) {
        at(is_snapshot(bytes, length) ? POINT_IN_SNAPSHOT : POINT_IN_PROJECTION);
        return;
    }
    at(POINT_BEFORE_WRITE);
    if (__atomic_exchange_n(&heard, 0, __ATOMIC_SEQ_CST)) {
        result_written = 1;
        at(POINT_BEFORE_RESULT_WRITE);
    }
}

void after_write(enum kind kind) {
    if (kind == WATERMARK) at(POINT_AFTER_WATERMARK);
}

void before_sync(enum kind kind) {
    at(POINT_IN_RECOVERY);
    if (kind != LOG) return;
    at(POINT_BEFORE_SYNC);
    if (result_written) at(POINT_BEFORE_RESULT_SYNC);
}

void after_sync(enum kind kind) {
    if (kind != LOG) return;
    at(POINT_AFTER_SYNC);
    if (result_written) at(POINT_AFTER_RESULT_SYNC);
    result_written = 0;
}

static uint32_t port(int fd, int (*name)(int, struct sockaddr *, socklen_t *)) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    if (name(fd, (struct sockaddr *)&address, &length) != 0) return 0;
    return address.sin_family == AF_INET ? ntohs(address.sin_port) : 0;
}

static int is_among(uint32_t wanted, const uint32_t *ports, int count) {
    for (int at = 0; wanted && at < count; at++) {
        if (ports[at] == wanted) return 1;
    }
    return 0;
}

static int is_node(int fd) {
    return control->node_ports[0] && is_among(port(fd, getpeername), control->node_ports, 8);
}

void socket_before_send(int fd) {
    if (is_node(fd)) at(POINT_BEFORE_DISPATCH);
}

void socket_after_send(int fd) {
    int error = errno;
    if (is_node(fd)) at(POINT_AFTER_DISPATCH);
    if (control->door_ports[0] && is_among(port(fd, getsockname), control->door_ports, 3)) {
        at(POINT_AFTER_ANSWER);
    }
    errno = error;
}

void socket_after_receive(int fd) {
    int error = errno;
    if (is_node(fd)) __atomic_store_n(&heard, 1, __ATOMIC_SEQ_CST);
    errno = error;
}

#define REAL(type, name, ...)                                                                     \
    static type (*real)(__VA_ARGS__);                                                             \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

int listen(int fd, int backlog) {
    REAL(int, listen, int, int);
    /* The doors open when the journal is recovered. */
    if (is_among(port(fd, getsockname), control->door_ports, 3)) is_open = 1;
    return real(fd, backlog);
}

ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    REAL(ssize_t, send, int, const void *, size_t, int);
    socket_before_send(fd);
    ssize_t sent = real(fd, bytes, length, flags);
    socket_after_send(fd);
    return sent;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    socket_before_send(fd);
    ssize_t sent = real(fd, parts, count);
    socket_after_send(fd);
    return sent;
}

ssize_t recv(int fd, void *bytes, size_t length, int flags) {
    REAL(ssize_t, recv, int, void *, size_t, int);
    ssize_t received = real(fd, bytes, length, flags);
    if (received > 0) socket_after_receive(fd);
    return received;
}
