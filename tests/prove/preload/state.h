/* What the parts of the preload library share. */
#ifndef FULGURITE_PRELOAD_STATE_H
#define FULGURITE_PRELOAD_STATE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Written by the prover, read here at every call; counters the other way round. */
struct control {
    uint32_t fault;      /* enum fault: which calls fail from now on */
    uint32_t failed;     /* calls that failed so far */
    uint32_t syncs;      /* syncs that were asked for after the first that failed */
    uint32_t point;      /* enum point: where the process is killed */
    uint32_t countdown;  /* at the so-many-th time that it comes there */
    uint32_t door_ports[3];
    uint32_t node_ports[8];
    uint32_t passed[32]; /* how often each point was passed */
};

enum fault { FAULT_NONE, FAULT_SYNC, FAULT_WRITE, FAULT_FULL, FAULT_READ_ONLY, FAULT_FILES };

/* The same numbers as in src/preload.rs. */
enum point {
    POINT_NONE,
    POINT_BEFORE_WRITE,
    POINT_BEFORE_SYNC,
    POINT_AFTER_SYNC,
    POINT_AFTER_WATERMARK,
    POINT_AFTER_ANSWER,
    POINT_BEFORE_DISPATCH,
    POINT_AFTER_DISPATCH,
    POINT_BEFORE_RESULT_WRITE,
    POINT_BEFORE_RESULT_SYNC,
    POINT_AFTER_RESULT_SYNC,
    POINT_IN_PROJECTION,
    POINT_IN_SNAPSHOT,
    POINT_IN_FLUSH,
    POINT_IN_MANIFEST,
    POINT_BEFORE_RENAME,
    POINT_IN_RECOVERY,
};

/* What a descriptor is; everything but OTHER lies in the watched folder. */
enum kind { OTHER, LOG, TABLE, MANIFEST, WATERMARK, PLAIN, FOLDER, ACKNOWLEDGED };

#pragma GCC visibility push(hidden)

extern struct control *control;

/* faults.c: sets errno and says yes when the call must fail. */
int fails(enum fault first, enum fault second, int error);
int fails_any_write(void);

/* points.c */
void at(enum point point);
void before_write(enum kind kind, const void *bytes, size_t length);
void after_write(enum kind kind);
void before_sync(enum kind kind);
void after_sync(enum kind kind);
void socket_before_send(int fd);
void socket_after_send(int fd);
void socket_after_receive(int fd);

/* record.c */
void record_start(void);
void record_bytes(int fd, const void *bytes, size_t length, off_t offset);
void record_file(const char *what, int fd, const char *path, off_t length);
void record_paths(const char *what, const char *path, const char *to);
void record_acknowledged(const void *bytes, size_t length);

#pragma GCC visibility pop

#endif
