/* A DLL that wine 8 lacks, with the one function of it that Rust's and Go's runtimes call. */

#include <windows.h>

#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI
ProcessPrng(PBYTE to, SIZE_T size)
{
    return RtlGenRandom(to, (ULONG)size);
}
