// mps2-an386 of QEMU: start-up, UART 0, and a file on the host over semihosting in place of a card.
//
// No C library: memcpy and its like come with the Rust one.

#include "board.h"

int main(void);

extern uint32_t data_start[], data_end[], data_load[], bss_start[], bss_end[], stack_top[];

// Arm DDI 0479, "Cortex-M System Design Kit", 4.3.
#define UART ((volatile uint32_t *)0x40004000)
enum { UART_DATA = 0, UART_STATE = 1, UART_CTRL = 2, UART_BAUD = 4, UART_TX_FULL = 1 };
// Arm DDI 0403, "ARMv7-M Architecture Reference Manual", B3.2.20.
#define CPACR (*(volatile uint32_t *)0xE000ED88)

void reset(void) {
    // The FPU, before the first function that may use it.
    CPACR |= 0xF << 20;
    __asm volatile("dsb\n isb" ::: "memory");
    __builtin_memcpy(data_start, data_load, (size_t)((char *)data_end - (char *)data_start));
    __builtin_memset(bss_start, 0, (size_t)((char *)bss_end - (char *)bss_start));
    stop(main());
}

static void fault(void) {
    console_text("a fault\r\n");
    stop(3);
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, reset, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, fault,
};

void console_init(void) {
    UART[UART_BAUD] = 217; // 115,200 baud of 25 MHz
    UART[UART_CTRL] = 1;
}

void console_byte(uint8_t byte) {
    while (UART[UART_STATE] & UART_TX_FULL) {}
    UART[UART_DATA] = byte;
}

void console_text(const char *text) {
    while (*text) console_byte((uint8_t)*text++);
}

void console_number(uint32_t value, int width) {
    char digits[10];
    int count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    for (int i = count; i < width; i++) console_byte(' ');
    while (count) console_byte((uint8_t)digits[--count]);
}

void console_hex(uint32_t value) {
    for (int shift = 28; shift >= 0; shift -= 4) console_byte((uint8_t)"0123456789abcdef"[value >> shift & 15]);
}

// Arm, "Semihosting for AArch32 and AArch64".
enum { SYS_OPEN = 0x01, SYS_READ = 0x06, SYS_SEEK = 0x0A, SYS_FLEN = 0x0C, SYS_EXIT_EXTENDED = 0x20 };

static int semihosting(int operation, const void *arguments) {
    register int r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = arguments;
    __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

_Noreturn void stop(int code) {
    const uintptr_t arguments[] = {0x20026 /* ADP_Stopped_ApplicationExit */, (uintptr_t)code};
    semihosting(SYS_EXIT_EXTENDED, arguments);
    for (;;) {}
}

static int file;

static int32_t card_read(void *context, uint32_t start, uint8_t *dst, uint32_t count) {
    const uintptr_t handle = (uintptr_t)*(int *)context;
    const uintptr_t seek[] = {handle, (uintptr_t)start * RIPPLE_BLOCK_BYTES};
    if (semihosting(SYS_SEEK, seek) != 0) return RIPPLE_STATUS_DEVICE;
    // The result is the number of bytes that were not read.
    const uintptr_t read[] = {handle, (uintptr_t)dst, (uintptr_t)count * RIPPLE_BLOCK_BYTES};
    return semihosting(SYS_READ, read) == 0 ? RIPPLE_STATUS_OK : RIPPLE_STATUS_DEVICE;
}

bool card_open(const char *path, RippleDevice *card) {
    const uintptr_t open[] = {(uintptr_t)path, 1 /* "rb" */, __builtin_strlen(path)};
    file = semihosting(SYS_OPEN, open);
    if (file < 0) return false;
    const uintptr_t length[] = {(uintptr_t)file};
    const int bytes = semihosting(SYS_FLEN, length);
    if (bytes < 0) return false;
    *card = (RippleDevice){.context = &file, .blocks = (uint32_t)bytes / RIPPLE_BLOCK_BYTES, .read = card_read};
    return true;
}
