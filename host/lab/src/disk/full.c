/* Lets a PostgreSQL server meet a full disk: while the file that LAB_DISK_FULL names exists, files of tables and indexes
   can't grow (ENOSPC). What was written before can be written again, and the log of transactions has its own disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int full(int fd, off_t end) {
    const char *flag = getenv("LAB_DISK_FULL");
    if (!flag || access(flag, F_OK) != 0) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (!strstr(path, "/data/base/")) return 0;
    struct stat now;
    return fstat(fd, &now) == 0 && end > now.st_size;
}

#define NEXT(name, type) ((type)dlsym(RTLD_NEXT, name))

static off_t sum(const struct iovec *pieces, int count) {
    off_t bytes = 0;
    for (int i = 0; i < count; i++) bytes += (off_t)pieces[i].iov_len;
    return bytes;
}

#define WRITE(name)                                                                              \
    ssize_t name(int fd, const void *bytes, size_t count, off_t at) {                            \
        if (full(fd, at + (off_t)count)) return errno = ENOSPC, -1;                              \
        return NEXT(#name, ssize_t (*)(int, const void *, size_t, off_t))(fd, bytes, count, at); \
    }
#define WRITEV(name)                                                                                    \
    ssize_t name(int fd, const struct iovec *pieces, int count, off_t at) {                             \
        if (full(fd, at + sum(pieces, count))) return errno = ENOSPC, -1;                               \
        return NEXT(#name, ssize_t (*)(int, const struct iovec *, int, off_t))(fd, pieces, count, at); \
    }
#define ALLOCATE(name)                                                         \
    int name(int fd, off_t at, off_t count) {                                  \
        if (full(fd, at + count)) return ENOSPC;                               \
        return NEXT(#name, int (*)(int, off_t, off_t))(fd, at, count);         \
    }

WRITE(pwrite)
WRITE(pwrite64)
WRITEV(pwritev)
WRITEV(pwritev64)
ALLOCATE(posix_fallocate)
ALLOCATE(posix_fallocate64)
