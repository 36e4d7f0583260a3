/*
 * The record: every call that changes the watched folder, in one order, as lines of
 * "WHAT INODE OFFSET LENGTH PATH TO" with tabs between, each followed by LENGTH bytes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "state.h"

static int out = -1;
static pthread_mutex_t in_order = PTHREAD_MUTEX_INITIALIZER;

/* Past our own wrappers. */
static void put(const void *bytes, size_t length) {
    const char *next = bytes;
    while (length > 0) {
        ssize_t written = syscall(SYS_write, out, next, length);
        if (written <= 0) abort();
        next += written;
        length -= (size_t)written;
    }
}

void record_start(void) {
    const char *path = getenv("FULGURITE_PRELOAD_RECORD");
    if (!path) return;
    out = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (out < 0) abort();
}

static void record(const char *what, unsigned long inode, off_t offset, const char *path,
                   const char *to, const void *bytes, size_t length) {
    char line[9000];
    int head = snprintf(line, sizeof line, "%s\t%lu\t%ld\t%zu\t%s\t%s\n", what, inode, (long)offset,
                        length, path, to);
    if (head < 0 || (size_t)head >= sizeof line) abort();
    pthread_mutex_lock(&in_order);
    put(line, (size_t)head);
    put(bytes, length);
    pthread_mutex_unlock(&in_order);
}

static unsigned long inode_of(int fd) {
    struct stat about;
    return fstat(fd, &about) == 0 ? (unsigned long)about.st_ino : 0;
}

void record_bytes(int fd, const void *bytes, size_t length, off_t offset) {
    if (out >= 0) record("write", inode_of(fd), offset, "", "", bytes, length);
}

void record_file(const char *what, int fd, const char *path, off_t length) {
    if (out >= 0) record(what, inode_of(fd), length, path, "", "", 0);
}

void record_paths(const char *what, const char *path, const char *to) {
    if (out >= 0) record(what, 0, 0, path, to, "", 0);
}

void record_acknowledged(const void *bytes, size_t length) {
    if (out >= 0) record("acknowledged", 0, 0, "", "", bytes, length);
}
