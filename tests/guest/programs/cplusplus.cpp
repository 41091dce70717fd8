// SPDX-License-Identifier: BSD-3-Clause
// A program in C++ that uses all of libbackdoor.
#include <cstdio>

#include <outboard/backdoor.h>

int main()
{
    ob_backdoor *backdoor = nullptr;
    ob_fault fault = {};
    if (ob_backdoor_open(&backdoor, &fault) < 0) {
        std::fprintf(stderr, "%s\n", fault.text);
        return 1;
    }
    char word[6] = {};
    ob_backdoor_write(backdoor, 100, "hello", 5);
    ob_backdoor_read(backdoor, 100, word, 5);
    int err = ob_backdoor_call(backdoor, 9, &fault);
    if (err == 0)
        err = ob_backdoor_check(backdoor, &fault);
    std::printf("%zu bytes, %s\n", ob_backdoor_size(backdoor), word);
    ob_backdoor_close(backdoor);
    return err < 0;
}
