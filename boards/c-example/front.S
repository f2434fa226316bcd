// The front of the image, up to the FFN, in flash. FRONT_BYTES: how much of model.img that is.
    .section .rodata.front, "a"
    .balign 64
    .global front
front:
    .incbin "model.img", 0, FRONT_BYTES
    .global front_end
front_end:
