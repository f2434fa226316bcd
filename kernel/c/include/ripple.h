#ifndef RIPPLE_H
#define RIPPLE_H

// Made from kernel/c/src by cbindgen: `UPDATE_HEADER=1 cargo test --test header` in kernel/c.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Bytes of a block.
#define RIPPLE_BLOCK_BYTES 512

// What the staging region's address must be a multiple of.
#define RIPPLE_STAGING_ALIGNMENT 64

// What every other region's address must be a multiple of.
#define RIPPLE_ALIGNMENT 4

// Keys and values in 16 bits.
#define RIPPLE_KV_F16 0

// Keys and values in 8 bits.
#define RIPPLE_KV_Q8 1

// The dynamic part of the cache evicts by S3-FIFO.
#define RIPPLE_EVICTION_S3_FIFO 0

// The dynamic part of the cache evicts the least recently used.
#define RIPPLE_EVICTION_LRU 1

// Words of a decoder, as large as pointers.
#define RIPPLE_DECODER_WORDS 288

// For `ripple_encode`: `<|endoftext|>` spelled out in the text is the special token (a trusted template),
// not its letters (what a user typed).
#define RIPPLE_ENCODE_SPECIAL 1

// For `ripple_encode`: the token that begins a text is put in front, where the model has its texts begin so.
#define RIPPLE_ENCODE_BEGIN 2

// For `ripple_encode`: the text goes on with one that was encoded before; no space is put in front.
#define RIPPLE_ENCODE_CONTINUES 4

// For `ripple_encode`: the text is in the normal form of Unicode that the model needs.
#define RIPPLE_ENCODE_IN_FORM 8

// Words of a sampler, of 64 bits.
#define RIPPLE_SAMPLER_WORDS 12

// What became of a call.
enum RippleStatus
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // It did what it should.
  RIPPLE_STATUS_OK,
  // A null pointer, one that is not aligned, or an option out of range.
  RIPPLE_STATUS_ARGUMENT,
  // The decoder or sampler was never opened, or opening it failed.
  RIPPLE_STATUS_NOT_OPEN,
  // The device: no answer in time. The call may be repeated.
  RIPPLE_STATUS_TIMEOUT,
  // The device: a transfer arrived damaged. The call may be repeated.
  RIPPLE_STATUS_CORRUPTED,
  // The device: no card. The call may be repeated once it is back.
  RIPPLE_STATUS_NO_CARD,
  // The device: a read beyond its end.
  RIPPLE_STATUS_OUT_OF_RANGE,
  // The device: anything else.
  RIPPLE_STATUS_DEVICE,
  // What the device holds, or the front that was given, is not an image.
  RIPPLE_STATUS_NOT_AN_IMAGE,
  // An image of another format version: pack the model again.
  RIPPLE_STATUS_VERSION,
  // The header of the image goes on behind the bytes that were given.
  RIPPLE_STATUS_HEADER_LENGTH,
  // A model that this version cannot run.
  RIPPLE_STATUS_UNSUPPORTED,
  // A model that needs a feature which this library was built without.
  RIPPLE_STATUS_MISSING_FEATURE,
  // A checksum is wrong: copy the image again.
  RIPPLE_STATUS_DAMAGED,
  // The device ends before the image does.
  RIPPLE_STATUS_TRUNCATED,
  // The mapped bytes are not the front of the image on the device.
  RIPPLE_STATUS_MAPPED_DIFFERS,
  // The work region is smaller than planned.
  RIPPLE_STATUS_MEMORY_WORK,
  // The staging region is smaller than planned.
  RIPPLE_STATUS_MEMORY_STAGING,
  // The cache region is smaller than planned.
  RIPPLE_STATUS_MEMORY_CACHE,
  // The index region is smaller than planned.
  RIPPLE_STATUS_MEMORY_INDEX,
  // The KV region is smaller than planned.
  RIPPLE_STATUS_MEMORY_KV,
  // The memory to be divided is smaller than planned.
  RIPPLE_STATUS_MEMORY,
  // No tokens, or more than a pass takes.
  RIPPLE_STATUS_CHUNK,
  // The context is full.
  RIPPLE_STATUS_CONTEXT_FULL,
  // No such token.
  RIPPLE_STATUS_UNKNOWN_TOKEN,
  // The pass was stopped between two layers.
  RIPPLE_STATUS_STOPPED,
  // The tokenizer is not in the mapped front of the image.
  RIPPLE_STATUS_NO_TOKENIZER,
  // There are more tokens than places for them.
  RIPPLE_STATUS_OUTPUT_FULL,
  // The text is not UTF-8.
  RIPPLE_STATUS_NOT_UTF8,
  // The text may be written otherwise in the normal form that the model needs.
  RIPPLE_STATUS_NOT_IN_FORM,
  // No text has begun.
  RIPPLE_STATUS_NO_TEXT,
  // An error that this header has no number for.
  RIPPLE_STATUS_OTHER,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum RippleStatus RippleStatus;
#else
typedef int32_t RippleStatus;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Why a text goes on no longer.
enum RippleEnd
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // It goes on.
  RIPPLE_END_NONE,
  // By the token that ends a text.
  RIPPLE_END_END_OF_TEXT,
  // By a stop string, which was not given.
  RIPPLE_END_STOP_STRING,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum RippleEnd RippleEnd;
#else
typedef int32_t RippleEnd;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What the caller decides. None changes what a token is but `kv` and `context`.
typedef struct {
  // Positions of the KV cache; more than the model's context is cut to it.
  uint32_t context;
  // Numbers in the KV cache: `RIPPLE_KV_F16` or `RIPPLE_KV_Q8`.
  uint32_t kv;
  // Blocks of staging, both halves together; raised to what the largest record needs.
  uint32_t staging_blocks;
  // Blocks of staging besides, that the pages of several layers are read into at once; 0 for none. Takes nothing in
  // images without pages.
  uint32_t page_buffer_blocks;
  // Bytes of the neuron cache.
  uint32_t cache_bytes;
  // Most of the cache that the hot prefix may take, in thousandths.
  uint32_t hot_permille;
  // A run of this many missed neurons or more is long.
  uint32_t admission_long_run;
  // Of the neurons of a long run one in so many enters the dynamic part of the cache; 0: none.
  uint32_t admission_one_in;
  // What leaves it: `RIPPLE_EVICTION_S3_FIFO` or `RIPPLE_EVICTION_LRU`.
  uint32_t eviction;
  // Most unwanted blocks that are read through instead of starting a new read.
  uint32_t collapse_gap;
  // Most positions of a pass.
  uint32_t batch;
  // 1 for reading a layer's context page while its attention is computed, 0 for not.
  uint8_t read_ahead;
  // 1 for checking the checksum of every mapped section in opening, 0 for not.
  uint8_t verify;
} RippleOptions;

// Bytes that each region needs.
typedef struct {
  // Activations, logits, the active set.
  size_t work;
  // Where reads arrive; must be reachable by DMA.
  size_t staging;
  // Neuron bundles.
  size_t cache;
  // What is where in the cache.
  size_t index;
  // Keys and values of past positions.
  size_t kv;
} RipplePlan;

// A piece of memory. `start` may be null where `bytes` is 0.
typedef struct {
  // Its address.
  void *start;
  // Its size.
  size_t bytes;
} RippleRegion;

// Memory for one decoder; the regions do not overlap.
typedef struct {
  // See `RipplePlan`.
  RippleRegion work;
  // See `RipplePlan`.
  RippleRegion staging;
  // See `RipplePlan`.
  RippleRegion cache;
  // See `RipplePlan`.
  RippleRegion index;
  // See `RipplePlan`.
  RippleRegion kv;
} RippleMemory;

// A decoder. Its contents are the library's; all zeroes is a decoder that is not open.
//
// Neither it nor what it was opened with may move or be used otherwise while it is open. It has
// nothing to close. Two threads must not call it at once.
typedef struct {
  size_t words[RIPPLE_DECODER_WORDS];
} RippleDecoder;

// Where the image is read from, in blocks of `RIPPLE_BLOCK_BYTES`; block 0 is the image's first.
//
// The functions return `RIPPLE_STATUS_OK`, or `_TIMEOUT`, `_CORRUPTED`, `_NO_CARD`, `_OUT_OF_RANGE` or
// `_DEVICE`; after an error `dst` may hold anything, and the next call may come.
typedef struct {
  // Handed to the functions; the library does nothing else with it.
  void *context;
  // Blocks that the device holds.
  uint32_t blocks;
  // Fills `dst` with `count` blocks from block `start` on. Never called for none, or beyond the end.
  int32_t (*read)(void *context, uint32_t start, uint8_t *dst, uint32_t count);
  // Begins such a read and returns. Null, as `finish`, where reads do not overlap with the core.
  int32_t (*start)(void *context, uint32_t start, uint8_t *dst, uint32_t count);
  // Waits until the read that `start` began is done, or has failed: nothing writes `dst` any more.
  int32_t (*finish)(void *context);
} RippleDevice;

// What an open model is.
typedef struct {
  // Tokens in the vocabulary: logits of a position.
  uint32_t vocab;
  // Positions that the decoder can hold.
  uint32_t context;
  // Most tokens of a pass.
  uint32_t batch;
  // Transformer layers.
  uint32_t layers;
  // Blocks of the image.
  uint32_t blocks;
} RippleInfo;

// UTF-8 in memory that C lends.
typedef struct {
  // Its first byte.
  const uint8_t *start;
  // Bytes.
  size_t bytes;
} RippleString;

// Takes a piece of text: whole characters of UTF-8, not ended by a zero. `context` is the caller's.
typedef void (*RippleWrite)(void *context, const uint8_t *text, size_t bytes);

// How a token is chosen: filters apply in this order, but the penalty first.
typedef struct {
  // Divides the logits; at 0 the token of the highest logit is taken.
  float temperature;
  // Keeps the `top_k` likeliest tokens; 0 keeps all.
  uint32_t top_k;
  // Keeps the fewest tokens that are together at least `top_p`; 1 keeps all.
  float top_p;
  // Keeps tokens at least `min_p` times as likely as the likeliest; 0 keeps all.
  float min_p;
  // Divides the positive and multiplies the negative logits of recent tokens; 1 leaves them.
  float repetition_penalty;
  // Chooses the stream of random numbers; the same seed gives the same tokens on every target.
  uint64_t seed;
} RippleSamplerOptions;

// A sampler. Its contents are the library's; all zeroes is a sampler that is not open.
typedef struct {
  uint64_t words[RIPPLE_SAMPLER_WORDS];
} RippleSampler;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// A status in words, never null; one line, in static memory. Takes any number.
const char *ripple_message(int32_t status);

// The options to start from: a 16-bit KV cache of 256 positions, 16 KiB of staging, no neuron cache.
RippleOptions ripple_default_options(void);

// Says in `plan` what a model needs.
//
// `front`: the first bytes of the image, its header among them; the first 16 KiB are always enough.
// Errors: `_ARGUMENT`, `_NOT_AN_IMAGE`, `_VERSION`, `_HEADER_LENGTH`, `_UNSUPPORTED`,
// `_MISSING_FEATURE`, `_DAMAGED`.
//
// # Safety
// Pointers are null or good for what they are called.
RippleStatus ripple_plan(const uint8_t *front,
                         size_t front_bytes,
                         const RippleOptions *options,
                         RipplePlan *plan);

// Divides one piece of memory into the regions of `plan`, staging first.
//
// `start`: a multiple of `RIPPLE_STAGING_ALIGNMENT`. Errors: `_ARGUMENT`, `_MEMORY`.
//
// # Safety
// Pointers are null or good for what they are called; the memory itself is not touched.
RippleStatus ripple_divide(const RipplePlan *plan, void *start, size_t bytes, RippleMemory *memory);

// Opens the image on `device`, in `decoder`, which is not open if this fails.
//
// `mapped`: the first `mapped_bytes` bytes of the same image where they can be addressed (flash,
// RAM); none may be. `memory`: what `ripple_plan` says, or more. `device`, `memory` and `options` are
// copied. Errors: `_ARGUMENT`, those of a device, of an image and of memory.
//
// # Safety
// Pointers are null or good for what they are called. The mapped bytes, the regions and what the
// device's functions use are the decoder's until it is opened again or no longer used. The device's
// functions keep their word.
RippleStatus ripple_open(RippleDecoder *decoder,
                         const RippleDevice *device,
                         const uint8_t *mapped,
                         size_t mapped_bytes,
                         const RippleMemory *memory,
                         const RippleOptions *options);

// Says in `info` what the open model is. Errors: `_ARGUMENT`, `_NOT_OPEN`.
//
// # Safety
// Pointers are null or good for what they are called.
RippleStatus ripple_info(RippleDecoder *decoder, RippleInfo *info);

// Feeds `token` at the current position and gives the logits of the next one: `vocab` floats, which
// the caller may change, valid until the next call.
//
// Errors: `_ARGUMENT`, `_NOT_OPEN`, `_CONTEXT_FULL`, `_UNKNOWN_TOKEN`, those of a device. The position
// is then unchanged, and the step can be repeated.
//
// # Safety
// Pointers are null or good for what they are called.
RippleStatus ripple_step(RippleDecoder *decoder,
                         uint32_t token,
                         float **logits);

// Feeds `count` tokens, `batch` of them a pass, and gives the logits after the last.
//
// Errors: as `ripple_step`, and `_CHUNK` for no tokens. When the device fails, the passes before the
// failed one hold: feed on from `ripple_position`.
//
// # Safety
// Pointers are null or good for what they are called.
RippleStatus ripple_prefill(RippleDecoder *decoder,
                            const uint32_t *tokens,
                            size_t count,
                            float **logits);

// Feeds `count` tokens, as `ripple_prefill`, without computing logits.
//
// # Safety
// Pointers are null or good for what they are called.
RippleStatus ripple_feed(RippleDecoder *decoder, const uint32_t *tokens, size_t count);

// Feeds 1 to `batch` tokens in one pass, calls `between` with `context` after each layer, so that the
// caller can do something else, and gives the logits after the last token.
//
// `between` returns 0 to stop and anything else to go on, and does not call this decoder. Errors: as
// `ripple_step`, `_CHUNK`, and `_STOPPED` when `between` returned 0. The position is then unchanged.
//
// # Safety
// Pointers are null or good for what they are called.
RippleStatus ripple_pass(RippleDecoder *decoder,
                         const uint32_t *tokens,
                         size_t count,
                         uint8_t (*between)(void *context),
                         void *context,
                         float **logits);

// Positions fed so far; 0 when it is not open.
//
// # Safety
// `decoder` is null or a decoder.
uint32_t ripple_position(RippleDecoder *decoder);

// Goes back to an earlier position; a later one changes nothing. Errors: `_ARGUMENT`, `_NOT_OPEN`.
//
// # Safety
// `decoder` is null or a decoder.
RippleStatus ripple_rewind(RippleDecoder *decoder, uint32_t position);

// Changes when neighbouring reads are merged, in blocks; no result changes with it. Errors:
// `_ARGUMENT`, `_NOT_OPEN`.
//
// # Safety
// `decoder` is null or a decoder.
RippleStatus ripple_set_collapse_gap(RippleDecoder *decoder, uint32_t blocks);

// Writes the tokens of `bytes` bytes of UTF-8 at `text` to the front of `ids`, and says in `count` how
// many there are; never more than bytes but for the token that begins a text and the spaces that some
// tokenizers put in front. `how`: the sum of what is wanted of `RIPPLE_ENCODE_...`.
//
// Errors: `_ARGUMENT`, `_NOT_OPEN`, `_NO_TOKENIZER`, `_OUTPUT_FULL`, `_NOT_UTF8`, `_NOT_IN_FORM`.
//
// # Safety
// Pointers are null or good for what they are called.
RippleStatus ripple_encode(RippleDecoder *decoder,
                           const uint8_t *text,
                           size_t bytes,
                           uint32_t how,
                           uint32_t *ids,
                           size_t room,
                           size_t *count);

// Says in `bytes` where the bytes of a token are, in the mapped image, and in `count` how many. A token
// may end inside a character. Errors: `_ARGUMENT`, `_NOT_OPEN`, `_NO_TOKENIZER`, `_UNKNOWN_TOKEN`.
//
// # Safety
// Pointers are null or good for what they are called.
RippleStatus ripple_token_bytes(RippleDecoder *decoder,
                                uint32_t token,
                                const uint8_t **bytes,
                                size_t *count);

// Says in `ends` whether a text ends with `token`. Errors: `_ARGUMENT`, `_NOT_OPEN`, `_NO_TOKENIZER`.
//
// # Safety
// Pointers are null or good for what they are called.
RippleStatus ripple_ends(RippleDecoder *decoder,
                         uint32_t token,
                         bool *ends);

// Begins a text of generated tokens, which ends at a token that ends a text or at one of `count`
// strings at `stops`. `from_start`: 1 where the first token is the first of the whole text, so that the space
// that some tokenizers put in front of every text is left out, 0 where it is not.
//
// Errors: `_ARGUMENT`, `_NOT_OPEN`, `_NO_TOKENIZER`, `_NOT_UTF8`.
//
// # Safety
// Pointers are null or good for what they are called; the strings and what they point to stay as they
// are until another text is begun.
RippleStatus ripple_text_begin(RippleDecoder *decoder,
                               const RippleString *stops,
                               size_t count,
                               uint8_t from_start);

// Adds `token` to the text that has begun: `out` is called with each piece of text that is certain
// with it, and `end` says whether the token ended the text. Nothing is held back then.
//
// Errors: `_ARGUMENT`, `_NOT_OPEN`, `_NO_TEXT`.
//
// # Safety
// Pointers are null or good for what they are called; `out` does not use the decoder.
RippleStatus ripple_text_push(RippleDecoder *decoder,
                              uint32_t token,
                              RippleWrite out,
                              void *context,
                              RippleEnd *end);

// Ends the text that has begun: `out` is called with what was held back, because it may have begun a
// stop string or was not yet a whole character.
//
// Errors: `_ARGUMENT`, `_NOT_OPEN`, `_NO_TEXT`.
//
// # Safety
// As `ripple_text_push`.
RippleStatus ripple_text_finish(RippleDecoder *decoder,
                                RippleWrite out,
                                void *context);

// The options to start from: the likeliest token, always.
RippleSamplerOptions ripple_default_sampler_options(void);

// Opens a sampler whose repetition penalty sees `count` tokens back; `recent` has places for them.
// Errors: `_ARGUMENT`.
//
// # Safety
// Pointers are null or good for what they are called; `recent` is the sampler's while it is used.
RippleStatus ripple_sampler_open(RippleSampler *sampler,
                                 const RippleSamplerOptions *options,
                                 uint32_t *recent,
                                 size_t count);

// Remembers a token for the repetition penalty: each that is fed, those of the prompt too. Errors:
// `_ARGUMENT`, `_NOT_OPEN`.
//
// # Safety
// `sampler` is null or a sampler.
RippleStatus ripple_accept(RippleSampler *sampler, uint32_t token);

// Says in `token` which to take by its `count` logits, which are used up. Errors: `_ARGUMENT`,
// `_NOT_OPEN`.
//
// # Safety
// Pointers are null or good for what they are called.
RippleStatus ripple_sample(RippleSampler *sampler, float *logits, size_t count, uint32_t *token);

// The likeliest token by its `count` logits, without a sampler; 0 where there are none.
//
// # Safety
// `logits` is null or good for `count` floats.
uint32_t ripple_likeliest(const float *logits, size_t count);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* RIPPLE_H */
