/*
 * A preload library between a process and its disk: records what reaches the files of one folder,
 * makes their calls fail, or kills the process at a named point. For tests alone.
 *
 *   FULGURITE_PRELOAD_FOLDER   the folder that is watched
 *   FULGURITE_PRELOAD_RECORD   where calls are recorded; nothing is when it is not set
 *   FULGURITE_PRELOAD_CONTROL  a file with a struct control, shared with the prover
 *   FULGURITE_PRELOAD_LEAN     reserves no room for files: in memory that takes most of the time
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state.h"

#define DESCRIPTORS 65536
#define REAL(type, name, ...)                                                                     \
    static type (*real)(__VA_ARGS__);                                                             \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static struct control unused;
struct control *control = &unused;
static const char *folder;
static size_t folder_length;
static int is_lean;
static unsigned char kinds[DESCRIPTORS];

__attribute__((constructor)) static void start(void) {
    const char *shared = getenv("FULGURITE_PRELOAD_CONTROL");
    folder = getenv("FULGURITE_PRELOAD_FOLDER");
    folder_length = folder ? strlen(folder) : 0;
    is_lean = getenv("FULGURITE_PRELOAD_LEAN") != NULL;
    if (shared) {
        REAL(int, open, const char *, int, ...);
        int fd = real(shared, O_RDWR);
        void *at = fd < 0 ? MAP_FAILED
                          : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED) abort();
        control = at;
    }
    record_start();
}

static int is_watched(const char *path) {
    return folder && strncmp(path, folder, folder_length) == 0 &&
           (path[folder_length] == '/' || path[folder_length] == 0);
}

static int ends_with(const char *path, const char *end) {
    size_t length = strlen(path), tail = strlen(end);
    return length >= tail && strcmp(path + length - tail, end) == 0;
}

static enum kind kind_of_path(const char *path, int flags) {
    if (ends_with(path, "/acknowledged")) return ACKNOWLEDGED;
    if (!is_watched(path)) return OTHER;
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    if (flags & O_DIRECTORY) return FOLDER;
    if (ends_with(name, ".log")) return LOG;
    if (ends_with(name, ".sst")) return TABLE;
    if (strncmp(name, "MANIFEST", 8) == 0) return MANIFEST;
    if (strcmp(name, "watermark") == 0) return WATERMARK;
    return PLAIN;
}

static enum kind kind_of(int fd) {
    return fd >= 0 && fd < DESCRIPTORS ? kinds[fd] : OTHER;
}

static int is_file(enum kind kind) {
    return kind != OTHER && kind != FOLDER && kind != ACKNOWLEDGED;
}

static int open_any(int (*real)(int, const char *, int, ...), int at_fd, const char *path, int flags,
                    mode_t mode) {
    enum kind kind = kind_of_path(path, flags);
    int changes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
    if (is_file(kind)) {
        if (fails(FAULT_FILES, FAULT_NONE, EMFILE)) return -1;
        if (changes && fails(FAULT_READ_ONLY, FAULT_NONE, EROFS)) return -1;
        if ((flags & O_CREAT) && fails(FAULT_FULL, FAULT_NONE, ENOSPC)) return -1;
    }
    int is_new = (flags & O_CREAT) && is_file(kind) && access(path, F_OK) != 0;
    int fd = real(at_fd, path, flags, mode);
    if (fd < 0 || fd >= DESCRIPTORS) return fd;
    struct stat about;
    if (kind == PLAIN && fstat(fd, &about) == 0 && S_ISDIR(about.st_mode)) kind = FOLDER;
    kinds[fd] = (unsigned char)kind;
    if (is_new) record_file("create", fd, path, 0);
    if (kind == FOLDER) record_file("folder", fd, path, 0);
    if (!is_new && is_file(kind) && (flags & O_TRUNC)) record_file("cut", fd, path, 0);
    return fd;
}

#define MODE                                                                                      \
    mode_t mode = 0;                                                                              \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                          \
        va_list more;                                                                             \
        va_start(more, flags);                                                                    \
        mode = va_arg(more, mode_t);                                                              \
        va_end(more);                                                                             \
    }                                                                                             \
    REAL(int, openat, int, const char *, int, ...)

int open(const char *path, int flags, ...) {
    MODE;
    return open_any(real, AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE;
    return open_any(real, AT_FDCWD, path, flags, mode);
}

int openat(int at_fd, const char *path, int flags, ...) {
    MODE;
    return open_any(real, at_fd, path, flags, mode);
}

int openat64(int at_fd, const char *path, int flags, ...) {
    MODE;
    return open_any(real, at_fd, path, flags, mode);
}

int close(int fd) {
    REAL(int, close, int);
    if (fd >= 0 && fd < DESCRIPTORS) kinds[fd] = OTHER;
    return real(fd);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(ssize_t, write, int, const void *, size_t);
    enum kind kind = kind_of(fd);
    if (kind == OTHER) {
        socket_before_send(fd);
        ssize_t sent = real(fd, bytes, length);
        socket_after_send(fd);
        return sent;
    }
    if (kind == ACKNOWLEDGED) record_acknowledged(bytes, length);
    if (is_file(kind)) {
        if (fails_any_write()) return -1;
        before_write(kind, bytes, length);
        record_bytes(fd, bytes, length, lseek(fd, 0, SEEK_CUR));
    }
    ssize_t written = real(fd, bytes, length);
    after_write(kind);
    return written;
}

static ssize_t pwrite_any(int fd, const void *bytes, size_t length, off_t offset) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    enum kind kind = kind_of(fd);
    if (is_file(kind)) {
        if (fails_any_write()) return -1;
        before_write(kind, bytes, length);
        record_bytes(fd, bytes, length, offset);
    }
    ssize_t written = real(fd, bytes, length, offset);
    after_write(kind);
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return pwrite_any(fd, bytes, length, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
    return pwrite_any(fd, bytes, length, offset);
}

static int sync_any(int (*real)(int), int fd) {
    enum kind kind = kind_of(fd);
    if (kind == OTHER) return real(fd);
    if (control->failed) __atomic_fetch_add(&control->syncs, 1, __ATOMIC_SEQ_CST);
    if (fails(FAULT_SYNC, FAULT_NONE, EIO)) return -1;
    before_sync(kind);
    record_file("begin", fd, "", 0);
    int done = real(fd);
    if (done == 0) record_file("sync", fd, "", 0);
    after_sync(kind);
    return done;
}

int fsync(int fd) {
    REAL(int, fsync, int);
    return sync_any(real, fd);
}

int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    return sync_any(real, fd);
}

static int cut_any(int fd, off_t length) {
    REAL(int, ftruncate, int, off_t);
    if (is_file(kind_of(fd))) {
        if (fails(FAULT_READ_ONLY, FAULT_NONE, EROFS)) return -1;
        record_file("cut", fd, "", length);
    }
    return real(fd, length);
}

int ftruncate(int fd, off_t length) {
    return cut_any(fd, length);
}

int ftruncate64(int fd, off_t length) {
    return cut_any(fd, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
    REAL(int, fallocate, int, int, off_t, off_t);
    if (is_file(kind_of(fd)) && fails(FAULT_FULL, FAULT_READ_ONLY, ENOSPC)) return -1;
    return is_lean ? 0 : real(fd, mode, offset, length);
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    if (!is_watched(to)) return real(from, to);
    if (fails(FAULT_READ_ONLY, FAULT_NONE, EROFS)) return -1;
    at(POINT_BEFORE_RENAME);
    at(POINT_IN_RECOVERY);
    record_paths("rename", from, to);
    return real(from, to);
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    if (!is_watched(path)) return real(path);
    if (fails(FAULT_READ_ONLY, FAULT_NONE, EROFS)) return -1;
    at(POINT_IN_RECOVERY);
    record_paths("unlink", path, "");
    return real(path);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    int is_new = is_watched(path) && access(path, F_OK) != 0;
    if (is_new && fails(FAULT_READ_ONLY, FAULT_NONE, EROFS)) return -1;
    if (is_new) record_paths("mkdir", path, "");
    return real(path, mode);
}
