@ From the first instruction to `board_main`. Until the MMU is on, memory is strongly ordered: aligned
@ accesses only, so nothing is compiled code before that.

.section .text.start, "ax"
.arm
.fpu neon-vfpv4
.global _start
_start:
    cpsid   aif
    mrc     p15, 0, r0, c0, c0, 5
    ands    r0, r0, #3
    bne     park
    mrs     r8, cpsr

    @ This core joins the coherency (ACTLR.SMP), then trusts nothing that caches or TLBs hold.
    mrc     p15, 0, r0, c1, c0, 1
    orr     r0, r0, #(1 << 6)
    mcr     p15, 0, r0, c1, c0, 1
    mov     r0, #0
    mcr     p15, 0, r0, c8, c7, 0
    mcr     p15, 0, r0, c7, c5, 0
    mcr     p15, 0, r0, c7, c5, 6

    @ One table for all addresses, cached walks; domain 0 checks permissions.
    mcr     p15, 0, r0, c2, c0, 2
    ldr     r0, =TRANSLATION_TABLE
    orr     r0, r0, #0x4a
    mcr     p15, 0, r0, c2, c0, 0
    mov     r0, #1
    mcr     p15, 0, r0, c3, c0, 0
    ldr     r0, =vectors
    mcr     p15, 0, r0, c12, c0, 0
    dsb     sy
    isb
    @ MMU, data cache, branch prediction, instruction cache on; alignment check, high vectors off.
    mrc     p15, 0, r0, c1, c0, 0
    bic     r0, r0, #(1 << 1)
    bic     r0, r0, #(1 << 13)
    bic     r0, r0, #(7 << 28)
    orr     r0, r0, #0x5
    orr     r0, r0, #(3 << 11)
    mcr     p15, 0, r0, c1, c0, 0
    isb

    @ Floating point and NEON.
    mrc     p15, 0, r0, c1, c0, 2
    orr     r0, r0, #(0xf << 20)
    mcr     p15, 0, r0, c1, c0, 2
    isb
    mov     r0, #(1 << 30)
    vmsr    fpexc, r0

    ldr     r0, =_bss_start
    ldr     r1, =_bss_end
    mov     r2, #0
    mov     r3, #0
1:  cmp     r0, r1
    strdlo  r2, r3, [r0], #8
    blo     1b
    ldr     r0, =_stack_bottom
    ldr     r1, =_stack_top
    mov     sp, r1
    ldr     r2, =0x5afe57ac
2:  cmp     r0, r1
    strlo   r2, [r0], #4
    blo     2b
    mov     r0, r8
    bl      board_main

park:
    wfi
    b       park

@ All vectors report; none returns.
.balign 32
vectors:
    b       .
    b       undefined
    b       supervisor
    b       prefetch
    b       data
    b       .
    b       interrupt
    b       fast

undefined:
    mov     r0, #0x04
    b       report
supervisor:
    mov     r0, #0x08
    b       report
prefetch:
    mov     r0, #0x0c
    b       report
data:
    mov     r0, #0x10
    b       report
interrupt:
    mov     r0, #0x18
    b       report
fast:
    mov     r0, #0x1c

@ Back to supervisor mode, on a fresh stack: the old one may be the trouble.
report:
    mov     r4, lr
    cpsid   aif, #0x13
    ldr     sp, =_stack_top
    sub     sp, sp, #24
    mrc     p15, 0, r1, c5, c0, 0
    mrc     p15, 0, r2, c6, c0, 0
    mrc     p15, 0, r3, c5, c0, 1
    stm     sp, {r0, r1, r2, r3, r4}
    mov     r0, sp
    bl      board_exception
    b       park
.ltorg
