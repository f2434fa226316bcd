// What the example has of the board: text to the console, reads from the card, an end.
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>
#include "ripple.h"

void console_init(void);
// Writes a C string.
void console_text(const char *text);
// Writes a byte.
void console_byte(uint8_t byte);
// Writes a number right-aligned in `width` places.
void console_number(uint32_t value, int width);
// Writes 8 hexadecimal digits.
void console_hex(uint32_t value);

// Opens the file `path` on the host as the card. Returns whether it is there.
bool card_open(const char *path, RippleDevice *card);

// Ends QEMU with `code`.
_Noreturn void stop(int code);

#endif
