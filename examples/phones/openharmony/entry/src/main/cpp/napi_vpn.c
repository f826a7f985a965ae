/* vpn.h for ArkTS, as libvpn.so: startPython, run and stop (types/libvpn/index.d.ts). */
#include <napi/native_api.h>
#include <stdlib.h>

#include "vpn.h"

enum { TEXT_MAX = 1 << 16 };

/* A run that is under way. One VPN at a time is all that the system allows. */
struct run {
    vpn *vpn;
    int fd, mtu;
    char *why;
    napi_deferred promise;
    napi_async_work work;
};

static struct run *under_way;

/* The argument as a copy, to be freed; NULL, with an exception, for what is no text. */
static char *text(napi_env env, napi_value value)
{
    char *copy = malloc(TEXT_MAX);
    size_t length;
    if (copy != NULL && napi_get_value_string_utf8(env, value, copy, TEXT_MAX, &length) != napi_ok) {
        napi_throw_type_error(env, NULL, "a text was expected");
        free(copy);
        return NULL;
    }
    return copy;
}

static napi_value throw_and_free(napi_env env, char *reason)
{
    napi_throw_error(env, NULL, reason);
    free(reason);
    return NULL;
}

static napi_value start_python(napi_env env, napi_callback_info info)
{
    napi_value arguments[2];
    size_t count = 2;
    napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
    char *home = text(env, arguments[0]);
    char *folder = home != NULL ? text(env, arguments[1]) : NULL;
    char *reason = folder != NULL ? vpn_start_python(home, folder) : NULL;
    free(home);
    free(folder);
    return reason != NULL ? throw_and_free(env, reason) : NULL;
}

static void execute(napi_env env, void *data)
{
    struct run *run = data;
    run->why = vpn_run(run->vpn, run->fd, run->mtu);
}

static void complete(napi_env env, napi_status status, void *data)
{
    struct run *run = data;
    napi_value why;
    napi_create_string_utf8(env, run->why, NAPI_AUTO_LENGTH, &why);
    napi_resolve_deferred(env, run->promise, why);
    napi_delete_async_work(env, run->work);
    vpn_free(run->vpn);
    free(run->why);
    free(run);
    under_way = NULL;
}

/* run(fd, mtu, host, port, name, certificate) */
static napi_value run(napi_env env, napi_callback_info info)
{
    napi_value arguments[6], label, promise;
    size_t count = 6;
    int32_t fd, mtu, port;
    napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
    if (napi_get_value_int32(env, arguments[0], &fd) != napi_ok ||
        napi_get_value_int32(env, arguments[1], &mtu) != napi_ok ||
        napi_get_value_int32(env, arguments[3], &port) != napi_ok) {
        napi_throw_type_error(env, NULL, "fd, mtu and port are numbers");
        return NULL;
    }
    if (under_way != NULL) {
        napi_throw_error(env, NULL, "a VPN is under way: stop it first");
        return NULL;
    }
    char *host = text(env, arguments[2]);
    char *name = host != NULL ? text(env, arguments[4]) : NULL;
    char *certificate = name != NULL ? text(env, arguments[5]) : NULL;
    char *reason = NULL;
    vpn *made = certificate != NULL ? vpn_new(host, port, name, certificate, &reason) : NULL;
    free(host);
    free(name);
    free(certificate);
    if (made == NULL) {
        return reason != NULL ? throw_and_free(env, reason) : NULL;
    }
    under_way = calloc(1, sizeof *under_way);
    if (under_way == NULL) {
        abort();
    }
    under_way->vpn = made;
    under_way->fd = fd;
    under_way->mtu = mtu;
    napi_create_promise(env, &under_way->promise, &promise);
    napi_create_string_utf8(env, "vpn", NAPI_AUTO_LENGTH, &label);
    napi_create_async_work(env, NULL, label, execute, complete, under_way, &under_way->work);
    napi_queue_async_work(env, under_way->work);
    return promise;
}

static napi_value stop(napi_env env, napi_callback_info info)
{
    if (under_way != NULL) {
        vpn_stop(under_way->vpn);
    }
    return NULL;
}

static napi_value init(napi_env env, napi_value exports)
{
    napi_property_descriptor properties[] = {
        {"startPython", NULL, start_python, NULL, NULL, NULL, napi_default, NULL},
        {"run", NULL, run, NULL, NULL, NULL, napi_default, NULL},
        {"stop", NULL, stop, NULL, NULL, NULL, napi_default, NULL},
    };
    napi_define_properties(env, exports, sizeof properties / sizeof properties[0], properties);
    return exports;
}

static napi_module module = {
    .nm_version = 1,
    .nm_register_func = init,
    .nm_modname = "vpn",
};

__attribute__((constructor)) static void register_module(void)
{
    napi_module_register(&module);
}
