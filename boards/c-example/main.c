// Goes on from a prompt with the likeliest token, and prints a line a step: position, token, CRC-32 of
// the logits, then the text. They are those of tests/qemu/mps2-an386.txt, to the last bit: `boards/x
// test-c`.

#include "board.h"

extern const uint8_t front[], front_end[];

// All the memory that the model gets.
static _Alignas(RIPPLE_STAGING_ALIGNMENT) uint8_t arena[452 * 1024];
static RippleDecoder decoder;

enum { TOKENS = 40, ROOM = 64 };

// Ends the program unless a call did what it should.
static void must(const char *what, RippleStatus status) {
    if (status == RIPPLE_STATUS_OK) return;
    console_text(what);
    console_text(": ");
    console_text(ripple_message(status));
    console_text("\r\n");
    stop(1);
}

static uint32_t crc32(const void *start, size_t bytes) {
    uint32_t crc = 0xFFFFFFFF;
    for (const uint8_t *at = start; bytes > 0; at++, bytes--) {
        crc ^= *at;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
    }
    return ~crc;
}

// Shows a piece of text.
static void show(void *unused, const uint8_t *text, size_t bytes) {
    (void)unused;
    for (; bytes > 0; text++, bytes--) console_byte(*text);
}

int main(void) {
    static const char prompt[] = "The captain looked at the sea, and";
    console_init();

    RippleDevice card;
    if (!card_open("card.img", &card)) {
        console_text("no card.img\r\n");
        return 1;
    }
    // Those of mps2-an386 in boards/app/src/board.rs, with a smaller cache.
    RippleOptions options = ripple_default_options();
    options.kv = RIPPLE_KV_Q8;
    options.staging_blocks = 128;
    options.cache_bytes = 90 * 1024;
    options.batch = 8;

    const size_t front_bytes = (size_t)(front_end - front);
    RipplePlan plan;
    RippleMemory memory;
    must("plan", ripple_plan(front, front_bytes, &options, &plan));
    must("divide", ripple_divide(&plan, arena, sizeof arena, &memory));
    must("open", ripple_open(&decoder, &card, front, front_bytes, &memory, &options));
    RippleInfo info;
    must("info", ripple_info(&decoder, &info));

    uint32_t tokens[ROOM];
    size_t count;
    must("encode", ripple_encode(&decoder, (const uint8_t *)prompt, sizeof prompt - 1,
                                 RIPPLE_ENCODE_BEGIN, tokens, ROOM, &count));
    float *logits;
    must("prefill", ripple_prefill(&decoder, tokens, count, &logits));
    uint32_t story[TOKENS];
    int length = 0;
    while (length < TOKENS) {
        const uint32_t token = ripple_likeliest(logits, info.vocab);
        story[length++] = token;
        console_number(ripple_position(&decoder), 5);
        console_number(token, 7);
        console_text(" ");
        console_hex(crc32(logits, info.vocab * sizeof *logits));
        console_text("\r\n");
        bool ends;
        must("ends", ripple_ends(&decoder, token, &ends));
        if (ends) break;
        if (length < TOKENS) must("step", ripple_step(&decoder, token, &logits));
    }
    // A text that is shown as it comes does this in the loop above.
    RippleEnd end = RIPPLE_END_NONE;
    console_text(prompt);
    must("text", ripple_text_begin(&decoder, NULL, 0, 0));
    for (int i = 0; i < length && end == RIPPLE_END_NONE; i++)
        must("text", ripple_text_push(&decoder, story[i], show, NULL, &end));
    must("text", ripple_text_finish(&decoder, show, NULL));
    console_text("\r\n");
    return 0;
}
