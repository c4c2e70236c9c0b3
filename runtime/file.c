/* file.c: whole files in, whole files out.
 *
 * Reading never blocks on a pipe and never trusts the size that the system reports. Writing goes
 * to a new file beside the target, which is renamed over it when it is complete, so that a reader
 * sees the old file or the new one and nothing between.
 */
#include "runtime/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_ALIGNMENT ((size_t)64)

/* Why the last system call failed, in words. glibc's own texts are constants, so that strerror
 * would do, but only the _r form promises that for all numbers. */
static const char *reason(int number, char *buffer, size_t size) {
    return strerror_r(number, buffer, size);
}

static tkc_status fail_open(const char *path, int number) {
    char buffer[128];
    if (number == ENOENT || number == ENOTDIR)
        return tkc_fail(TKC_NOT_FOUND, "There is no file `%s`.", path);
    return tkc_fail(TKC_IO, "The file `%s` cannot be opened: %s.", path,
                    reason(number, buffer, sizeof buffer));
}

static tkc_status read_all(int fd, const char *path, uint64_t limit, RtFile *file) {
    struct stat info;
    if (fstat(fd, &info)) return fail_open(path, errno);
    if (S_ISDIR(info.st_mode)) return tkc_fail(TKC_IO, "`%s` is a directory, not a file.", path);
    if (!S_ISREG(info.st_mode)) return tkc_fail(TKC_IO, "`%s` is not a regular file.", path);
    if ((uint64_t)info.st_size > limit)
        return tkc_fail(TKC_IO, "The file `%s` has %lld bytes; the limit is %llu.", path,
                        (long long)info.st_size, (unsigned long long)limit);
    size_t size = (size_t)info.st_size, used = 0;
    char *data = aligned_alloc(FILE_ALIGNMENT, (size + FILE_ALIGNMENT) & ~(FILE_ALIGNMENT - 1));
    if (!data) return rt_fail_memory();
    while (used < size) {
        ssize_t count = read(fd, data + used, size - used);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) {
            int number = errno;
            char buffer[128];
            free(data);
            return tkc_fail(TKC_IO, "The file `%s` cannot be read: %s.", path,
                            reason(number, buffer, sizeof buffer));
        }
        if (count == 0) break; /* it became shorter meanwhile */
        used += (size_t)count;
    }
    data[used] = 0;
    *file = (RtFile){data, used};
    return TKC_OK;
}

tkc_status rt_read_file(const char *path, uint64_t limit, RtFile *file) {
    *file = (RtFile){0};
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return fail_open(path, errno);
    tkc_status status = read_all(fd, path, limit, file);
    close(fd);
    return status;
}

bool rt_file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

static bool write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t count = write(fd, data, size);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return false;
        data += count;
        size -= (size_t)count;
    }
    return true;
}

/* Opens a new file beside `path`; its name is written to `name`. */
static int open_beside(const char *path, char *name, size_t size) {
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(name, size, "%s.%ld-%u.new", path, (long)getpid(), i);
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

tkc_status rt_write_file(const char *path, const void *head, size_t head_size, const void *body,
                         size_t body_size) {
    struct stat info;
    /* A device or a pipe is written to as it is; it must not be replaced by a file. */
    bool direct = stat(path, &info) == 0 && !S_ISREG(info.st_mode);
    size_t size = strlen(path) + 48;
    char *name = malloc(size);
    if (!name) return rt_fail_memory();
    int fd = direct ? open(path, O_WRONLY | O_CLOEXEC) : open_beside(path, name, size);
    int number = errno;
    bool opened = fd >= 0;
    bool good = opened && write_all(fd, head, head_size) && write_all(fd, body, body_size);
    if (opened && !good) number = errno;
    if (opened && close(fd) && good) {
        good = false;
        number = errno;
    }
    if (good && !direct && rename(name, path)) {
        good = false;
        number = errno;
    }
    if (opened && !good && !direct) unlink(name);
    free(name);
    if (good) return TKC_OK;
    char buffer[128];
    return tkc_fail(TKC_IO, "The file `%s` cannot be written: %s.", path,
                    reason(number, buffer, sizeof buffer));
}
