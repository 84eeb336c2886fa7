/* Send the same bytes to many sockets. `fanout.py` has the same in Python, and documents it.
 *
 * The GIL is held throughout, and no Python code runs between the first read of a dictionary and
 * the last send(): no object is made, freed or compared. So no entry can leave a dictionary, and
 * no socket can be closed, meanwhile. Decision 0004 says why the GIL is not released.
 */
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <errno.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef MSG_NOSIGNAL /* not on Linux; Python ignores SIGPIPE */
#define MSG_NOSIGNAL 0
#endif

#define PARTS_AT_ONCE 1024 /* IOV_MAX of Linux */

/* An entry of a batch's dictionary. */
typedef struct {
    PyObject *owner;
    PyObject *data;
    Py_ssize_t sent;
    int fd;
    int error; /* errno; 0 if the socket may accept the rest later */
} Entry;

/* Whether this is a buffer, or a list of buffers that are sent one after the other. */
static int is_data(PyObject *data) {
    if (PyBytes_Check(data)) return 1;
    if (!PyList_Check(data)) return 0;
    for (Py_ssize_t i = 0, count = PyList_Size(data); i < count; i++)
        if (!PyBytes_Check(PyList_GetItem(data, i))) return 0;
    return 1;
}

static Py_ssize_t size_of(PyObject *data) {
    if (PyBytes_Check(data)) return PyBytes_Size(data);
    Py_ssize_t size = 0;
    for (Py_ssize_t i = 0, count = PyList_Size(data); i < count; i++)
        size += PyBytes_Size(PyList_GetItem(data, i));
    return size;
}

/* Return the number of entries in all batches; -1 with an exception if a batch has a wrong type.
 * All batches are checked before anything is sent, so that an error leaves no partial frame. */
static Py_ssize_t count_entries(PyObject *batches) {
    if (!PyList_Check(batches)) {
        PyErr_SetString(PyExc_TypeError, "batches must be a list");
        return -1;
    }
    Py_ssize_t entries = 0, count = PyList_Size(batches);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *batch = PyList_GetItem(batches, i);
        if (!PyTuple_Check(batch) || PyTuple_Size(batch) != 2 ||
            !PyDict_Check(PyTuple_GetItem(batch, 0)) || !is_data(PyTuple_GetItem(batch, 1))) {
            PyErr_SetString(PyExc_TypeError,
                            "a batch must be a tuple of a dict and bytes, or a list of bytes");
            return -1;
        }
        entries += PyDict_Size(PyTuple_GetItem(batch, 0));
    }
    return entries;
}

/* Return the file descriptor in an int; -1 for a negative one, INT_MAX if it cannot be one. */
static int descriptor(PyObject *number) {
    int overflow = 0;
    long value = PyLong_Check(number) ? PyLong_AsLongAndOverflow(number, &overflow) : LONG_MAX;
    if (overflow > 0 || value > INT_MAX) return INT_MAX; /* EBADF: no limit of files is as high */
    return value < 0 ? -1 : (int)value;
}

/* Copy the entries of all batches to a list. After each send() the CPU caches are cold, and a list
 * is read faster than many dictionaries. */
static void list_entries(PyObject *batches, Entry *entry) {
    Py_ssize_t count = PyList_Size(batches);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *batch = PyList_GetItem(batches, i);
        PyObject *writers = PyTuple_GetItem(batch, 0), *data = PyTuple_GetItem(batch, 1);
        PyObject *owner, *number;
        Py_ssize_t position = 0;
        while (PyDict_Next(writers, &position, &owner, &number))
            *entry++ = (Entry){.owner = owner, .data = data, .fd = descriptor(number)};
    }
}

/* Note the result of a system call in its entry, and return whether the call succeeded. */
static int note(Entry *entry, ssize_t sent) {
    if (sent >= 0)
        entry->sent += sent;
    else if (errno != EAGAIN && errno != EWOULDBLOCK)
        entry->error = errno;
    return sent >= 0;
}

static void send_buffer(Entry *entry) {
    const char *buffer = PyBytes_AsString(entry->data);
    size_t size = (size_t)PyBytes_Size(entry->data);
    ssize_t sent;
    do sent = send(entry->fd, buffer, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    note(entry, sent);
}

/* Send a list of buffers without joining them. */
static void send_parts(Entry *entry) {
    struct iovec parts[PARTS_AT_ONCE];
    struct msghdr message = {.msg_iov = parts};
    Py_ssize_t count = PyList_Size(entry->data), next = 0, offered = 0;
    while (next < count && entry->sent == offered) {
        size_t number = 0;
        for (; number < PARTS_AT_ONCE && next < count; number++, next++) {
            PyObject *part = PyList_GetItem(entry->data, next);
            parts[number].iov_base = PyBytes_AsString(part);
            parts[number].iov_len = (size_t)PyBytes_Size(part);
            offered += PyBytes_Size(part);
        }
        message.msg_iovlen = number;
        ssize_t sent;
        do sent = sendmsg(entry->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        if (!note(entry, sent)) return;
    }
}

/* Send to all sockets. Move the entries with a shortfall to the front, and return their number. */
static Py_ssize_t send_all(Entry *entries, Py_ssize_t count) {
    Py_ssize_t shortfalls = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        Entry *entry = &entries[i];
        if (entry->fd >= 0) {
            if (PyBytes_Check(entry->data))
                send_buffer(entry);
            else
                send_parts(entry);
        }
        if (entry->sent != size_of(entry->data) || entry->error) entries[shortfalls++] = *entry;
    }
    return shortfalls;
}

/* Return the shortfalls as a tuple. Making it may run Python code (the garbage collector), so the
 * references to owners and data are taken first. */
static PyObject *as_tuple(const Entry *shortfalls, Py_ssize_t count) {
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_INCREF(shortfalls[i].owner);
        Py_INCREF(shortfalls[i].data);
    }
    PyObject *result = PyTuple_New(count);
    for (Py_ssize_t i = 0; i < count; i++) {
        const Entry *one = &shortfalls[i];
        PyObject *item = result == NULL ? NULL
            : Py_BuildValue("(OOni)", one->owner, one->data, one->sent, one->error);
        Py_DECREF(one->owner);
        Py_DECREF(one->data);
        if (item == NULL)
            Py_CLEAR(result); /* the loop releases the other references */
        else
            PyTuple_SetItem(result, i, item);
    }
    return result;
}

static PyObject *fanout_send(PyObject *module, PyObject *batches) {
    (void)module;
    Py_ssize_t count = count_entries(batches);
    if (count < 0) return NULL;
    Entry *entries = PyMem_Malloc((size_t)count * sizeof *entries);
    if (entries == NULL) return PyErr_NoMemory();
    list_entries(batches, entries);
    PyObject *result = as_tuple(entries, send_all(entries, count));
    PyMem_Free(entries);
    return result;
}

static PyMethodDef functions[] = {
    {"send", fanout_send, METH_O, "Send each batch to its sockets; see `fanout.send_in_python`."},
    {NULL, NULL, 0, NULL},
};

/* Increment this with each change of the arguments or the result of `send`; `fanout` checks it. */
static int add_interface(PyObject *module) {
    return PyModule_AddIntConstant(module, "INTERFACE", 2);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, add_interface}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_fanout",
    .m_doc = "Send the same bytes to many sockets, in C.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__fanout(void) { return PyModuleDef_Init(&definition); }
