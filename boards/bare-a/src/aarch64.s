// From the first instruction to `board_main`. Until the MMU is on, memory is devices: aligned accesses
// only, so nothing is compiled code before that.

.section .text.start, "ax"
.global _start
_start:
    msr     daifset, #0xf
    mrs     x0, mpidr_el1
    and     x0, x0, #0xff
    cbnz    x0, park
    mrs     x20, CurrentEL
    cmp     x20, #(2 << 2)
    b.eq    in_el2
    b.lo    in_el1

    // EL3: QEMU without firmware. Non-secure AArch64 below; this core joins the coherency (SMPEN).
    mov     x0, #0x5b1
    msr     scr_el3, x0
    msr     cptr_el3, xzr
    mrs     x0, s3_1_c15_c2_1
    orr     x0, x0, #(1 << 6)
    msr     s3_1_c15_c2_1, x0
    mov     x0, #0x3c9
    msr     spsr_el3, x0
    adr     x0, in_el2
    msr     elr_el3, x0
    eret

in_el2:
    mov     x0, #(1 << 31)
    msr     hcr_el2, x0
    mov     x0, #0x33ff
    msr     cptr_el2, x0
    mov     x0, #3
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr
    ldr     x0, =0x30d00800
    msr     sctlr_el1, x0
    mov     x0, #0x3c5
    msr     spsr_el2, x0
    adr     x0, in_el1
    msr     elr_el2, x0
    eret

in_el1:
    msr     spsel, #1
    mov     x0, #(3 << 20)
    msr     cpacr_el1, x0
    ldr     x0, =vectors
    msr     vbar_el1, x0

    // Normal write-back memory, devices; 30 bits of address from TTBR0 in 4 KiB granules, cached walks.
    ldr     x0, =0x00ff
    msr     mair_el1, x0
    ldr     x0, =((1 << 23) | (3 << 12) | (1 << 10) | (1 << 8) | 34)
    msr     tcr_el1, x0
    ldr     x0, =TRANSLATION_TABLE
    msr     ttbr0_el1, x0
    dsb     sy
    tlbi    vmalle1
    ic      iallu
    dsb     sy
    isb
    // MMU, data cache, instruction cache on; alignment check off.
    ldr     x0, =0x30d01805
    msr     sctlr_el1, x0
    isb

    ldr     x0, =_bss_start
    ldr     x1, =_bss_end
1:  cmp     x0, x1
    b.hs    2f
    stp     xzr, xzr, [x0], #16
    b       1b
2:  ldr     x0, =_stack_bottom
    ldr     x1, =_stack_top
    mov     sp, x1
    ldr     w2, =0x5afe57ac
3:  cmp     x0, x1
    b.hs    4f
    str     w2, [x0], #4
    b       3b
4:  mov     x0, x20
    bl      board_main

park:
    wfi
    b       park

// All sixteen vectors report; none returns.
.balign 0x800
vectors:
.set i, 0
.rept 16
    .balign 0x80
    mov     x0, #(i * 0x80)
    b       report
    .set i, i + 1
.endr

// On a fresh stack: the old one may be the trouble. Its paint is spoilt, which nobody asks any more.
report:
    mrs     x1, esr_el1
    mrs     x2, far_el1
    mrs     x3, elr_el1
    ldr     x4, =_stack_top
    mov     sp, x4
    stp     x2, x3, [sp, #-16]!
    stp     x0, x1, [sp, #-16]!
    mov     x0, sp
    bl      board_exception
    b       park
.ltorg
