//! What holds for every text, every vocabulary and every damaged section.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use ripple_host_sim::import::tokenizer::read;
use ripple_host_sim::model::tokenizer::TokenizerSpec;
use ripple_kernel::text::tokenizer::{
    EncodeError, EncodeOptions, Merge, Prefix, Split, Tokenizer, TokenizerError, TokenizerRepr,
    Utf8Decoder, Words,
};
use std::path::Path;
use std::sync::LazyLock;

static STORY: LazyLock<Vec<u8>> = LazyLock::new(|| spec("story-nano").pack().unwrap());

fn spec(model: &str) -> TokenizerSpec {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host-sim/models");
    read(&models.join(model).join("tokenizer.json")).unwrap()
}

/// Tokens without merges, none of which has a role.
fn bare<'a>(tokens: &'a [&'a [u8]], byte_ids: &'a [Option<u32>; 256]) -> TokenizerRepr<'a> {
    TokenizerRepr {
        tokens,
        byte_ids,
        unknown: None,
        fuse_unknown: false,
        merges: &[],
        whole: &[],
        special: &[],
        added: &[],
        beside: &[],
        bos: None,
        adds_bos: false,
        eos: &[],
        prefix: Prefix::Never,
        form: None,
        split: Split::Words { classes: &[], cut: Words::Gpt2 },
    }
}

/// A vocabulary of 256 bytes, the tokens of `merges`, and some added ones.
struct Vocabulary {
    tokens: Vec<Vec<u8>>,
    merges: Vec<Merge>,
    special: Vec<u32>,
    added: Vec<u32>,
}

impl Vocabulary {
    /// Merges of arbitrary tokens made so far, ranked as `ranks` says: not as a trainer would.
    fn new(pairs: &[(u32, u32)], ranks: &[u32]) -> Self {
        let mut tokens: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
        let mut merges: Vec<Merge> = Vec::new();
        for (&(left, right), &rank) in pairs.iter().zip(ranks) {
            // Three letters and what came of them.
            let pick = |n: u32| {
                let n = n % (3 + merges.len() as u32);
                if n < 3 { 97 + n } else { 256 + n - 3 }
            };
            let (left, right) = (pick(left), pick(right));
            if merges.iter().all(|m| (m.left, m.right) != (left, right)) {
                let result = tokens.len() as u32;
                let joined = [tokens[left as usize].clone(), tokens[right as usize].clone()];
                tokens.push(joined.concat());
                merges.push(Merge { left, right, rank, result });
            }
        }
        merges.sort_unstable_by_key(|m| (m.left, m.right));
        Self { tokens, merges, special: vec![], added: vec![] }
    }

    fn section(&self) -> Vec<u8> {
        let tokens: Vec<&[u8]> = self.tokens.iter().map(Vec::as_slice).collect();
        let byte_ids = std::array::from_fn(|byte| Some(byte as u32));
        let repr = TokenizerRepr {
            merges: &self.merges,
            special: &self.special,
            added: &self.added,
            ..bare(&tokens, &byte_ids)
        };
        let mut section = vec![0; repr.encoded_bytes() as usize];
        repr.emit(&mut section).unwrap();
        section
    }

    /// Always the leftmost pair of the lowest rank.
    fn naive(&self, word: &str) -> Vec<u32> {
        let mut ids: Vec<u32> = word.bytes().map(u32::from).collect();
        let merge = |l, r| self.merges.iter().find(|m| (m.left, m.right) == (l, r));
        while let Some((_, at, result)) = (0..ids.len().saturating_sub(1))
            .filter_map(|at| merge(ids[at], ids[at + 1]).map(|m| (m.rank, at, m.result)))
            .min()
        {
            ids.splice(at..at + 2, [result]);
        }
        ids
    }
}

fn encode(tokenizer: &Tokenizer<'_>, text: &str, parse_special: bool) -> Vec<u32> {
    let options = EncodeOptions { parse_special, ..EncodeOptions::default() };
    let mut ids = vec![0; 5 * text.len()];
    let len = tokenizer.encode(text, options, &mut ids).unwrap();
    ids.truncate(len);
    ids
}

fn decode_bytes(tokenizer: &Tokenizer<'_>, ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|&id| tokenizer.bytes(id).unwrap()).copied().collect()
}

fn decode(pieces: &[&[u8]]) -> String {
    let mut text = String::new();
    let mut decoder = Utf8Decoder::new();
    for bytes in pieces {
        decoder.push(bytes, |piece| text.push_str(piece));
    }
    decoder.finish(|piece| text.push_str(piece));
    decoder.finish(|piece| panic!("{piece:?} after the end"));
    text
}

/// Text with what tokenizers trip over.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<char>().prop_map(String::from),
        "[ -~]{0,8}",
        "[ \t\n]{1,4}",
        Just("<|endoftext|>".to_owned()),
        Just("'ll".to_owned()),
        "[\u{4e00}-\u{4e40}]{1,9}",
        "[a-c]{40,60}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn seeded() -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(0x5EED);
    ProptestConfig { rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn decoding_undoes_encoding(text in texts(), parse_special: bool) {
        let tokenizer = Tokenizer::parse(&STORY).unwrap();
        let ids = encode(&tokenizer, &text, parse_special);
        prop_assert_eq!(decode_bytes(&tokenizer, &ids), text.as_bytes());
        let pieces: Vec<&[u8]> = ids.iter().map(|&id| tokenizer.bytes(id).unwrap()).collect();
        prop_assert_eq!(decode(&pieces), text);
    }

    #[test]
    fn merges_are_the_leftmost_of_the_lowest_rank(
        pairs in prop::collection::vec(any::<(u32, u32)>(), 0..24),
        ranks in prop::collection::vec(0..30_u32, 24),
        word in "[abc]{0,90}",
    ) {
        let vocabulary = Vocabulary::new(&pairs, &ranks);
        let section = vocabulary.section();
        let tokenizer = Tokenizer::parse(&section).unwrap();
        let expected = vocabulary.naive(&word);
        prop_assert_eq!(encode(&tokenizer, &word, false), &expected[..]);
        // Without memory to merge a long word in.
        let mut ids = vec![0; word.len()];
        let len = tokenizer.encode(&word, EncodeOptions::default(), &mut ids).unwrap();
        prop_assert_eq!(&ids[..len], expected);
    }

    #[test]
    fn cut_bytes_decode_like_whole_ones(
        bytes in prop::collection::vec(
            prop_oneof![
                any::<u8>(),
                prop::sample::select(&[0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80, 0xc3, 0xed][..]),
            ],
            0..40,
        ),
        cuts in prop::collection::vec(0..40_usize, 0..12),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        let whole = String::from_utf8_lossy(&bytes);
        prop_assert_eq!(decode(&pieces), whole.clone());
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(decode(&single), whole);
    }

    #[test]
    fn damaged_sections_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        header in prop::option::of((0..44_usize, any::<u8>())),
        keep in prop::option::of(any::<prop::sample::Index>()),
        text in texts(),
    ) {
        let mut section = STORY.clone();
        for (at, byte) in damage {
            let at = at.index(section.len());
            section[at] = byte;
        }
        if let Some((at, byte)) = header {
            section[at] = byte;
        }
        if let Some(keep) = keep {
            section.truncate(keep.index(section.len()));
        }
        if let Ok(tokenizer) = Tokenizer::parse(&section) {
            for parse_special in [false, true] {
                for id in encode(&tokenizer, &text, parse_special) {
                    prop_assert!(id < tokenizer.tokens());
                    prop_assert!(tokenizer.bytes(id).is_some());
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Tokenizer::parse(&bytes);
        let mut versioned = vec![2, 0, 0, 0];
        versioned.extend(bytes);
        let _ = Tokenizer::parse(&versioned);
    }

    #[test]
    fn a_small_output_is_reported_and_never_overrun(text in texts(), places in 0..40_usize) {
        let tokenizer = Tokenizer::parse(&STORY).unwrap();
        let options = EncodeOptions { parse_special: true, ..EncodeOptions::default() };
        let whole = encode(&tokenizer, &text, true);
        let mut ids = vec![0; places];
        match tokenizer.encode(&text, options, &mut ids) {
            Ok(len) => prop_assert_eq!(&ids[..len], whole),
            Err(EncodeError::OutputFull { at, needed, given }) => {
                prop_assert_eq!(given, places);
                prop_assert!(needed > places && text.is_char_boundary(at) && at < text.len());
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn short_words_need_no_more_places_than_ids() {
    let tokenizer = Tokenizer::parse(&STORY).unwrap();
    let text = "Once upon a time, there was a little girl named Lily.";
    let whole = encode(&tokenizer, text, true);
    let mut ids = vec![0; whole.len()];
    let len = tokenizer.encode(text, EncodeOptions::default(), &mut ids).unwrap();
    assert_eq!((len, &ids), (whole.len(), &whole));
    ids.pop();
    let full = tokenizer.encode(text, EncodeOptions::default(), &mut ids).unwrap_err();
    let (at, needed, given) = (text.len() - 1, whole.len(), whole.len() - 1);
    assert_eq!(full, EncodeError::OutputFull { at, needed, given });
}

#[test]
fn the_longest_added_token_wins_and_special_ones_need_permission() {
    let mut vocabulary = Vocabulary::new(&[], &[]);
    vocabulary.tokens.extend(["<a>", "<a><b>", "<c>", "\u{2581}x"].map(|t| t.as_bytes().to_vec()));
    vocabulary.special = vec![256, 257];
    vocabulary.added = vec![258, 259];
    let section = vocabulary.section();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    assert_eq!(encode(&tokenizer, "<a><b><a><c>\u{2581}x", true), [257, 256, 258, 259]);
    assert_eq!(encode(&tokenizer, "<a><c>", false), [60, 97, 62, 258]);
}

#[test]
fn a_section_of_its_own_size_parses_and_a_shorter_one_does_not() {
    let mut padded = STORY.clone();
    padded.resize(STORY.len().next_multiple_of(512), 0);
    assert!(Tokenizer::parse(&padded).is_ok());
    for len in 0..STORY.len() {
        let given = len as u64;
        match Tokenizer::parse(&STORY[..len]) {
            Err(TokenizerError::Size { needed, given: found }) => {
                assert_eq!(found, given);
                assert!(needed > given);
            }
            other => panic!("{len}: {other:?}"),
        }
    }
}

#[test]
fn what_cannot_be_read_is_not_written() {
    let bytes: Vec<[u8; 1]> = (0..=u8::MAX).map(|byte| [byte]).collect();
    let tokens: Vec<&[u8]> = bytes.iter().map(<[u8; 1]>::as_slice).collect();
    let byte_ids = std::array::from_fn(|byte| Some(byte as u32));
    let good = bare(&tokens, &byte_ids);
    let emit = |repr: TokenizerRepr<'_>| {
        let mut section = vec![0; repr.encoded_bytes() as usize];
        repr.emit(&mut section)
    };
    let merge = |left, right, result| Merge { left, right, rank: 0, result };
    assert_eq!(emit(good), Ok(()));
    let mut short = [0; 100];
    let needed = good.encoded_bytes();
    assert_eq!(good.emit(&mut short), Err(TokenizerError::Size { needed, given: 100 }));
    let none = TokenizerRepr { tokens: &[], ..good };
    assert_eq!(emit(none), Err(TokenizerError::TokenCount { found: 0 }));
    let unsorted = [merge(2, 1, 3), merge(1, 2, 3)];
    let unsorted = TokenizerRepr { merges: &unsorted, ..good };
    assert_eq!(emit(unsorted), Err(TokenizerError::Merge { at: 1 }));
    let twice = TokenizerRepr { merges: &[merge(1, 2, 3), merge(1, 2, 3)], ..good };
    assert_eq!(emit(twice), Err(TokenizerError::Merge { at: 1 }));
    for beyond in [256, 65_536 + 7, u32::MAX] {
        let outside = TokenizerRepr { merges: &[merge(1, 2, beyond)], ..good };
        assert_eq!(emit(outside), Err(TokenizerError::Merge { at: 0 }));
        let outside = TokenizerRepr { special: &[beyond], ..good };
        assert_eq!(emit(outside), Err(TokenizerError::Added { at: 0 }));
    }
    for beyond in [256, u32::MAX] {
        let no_token = Err(TokenizerError::NoToken { id: beyond });
        let refused = |repr: TokenizerRepr<'_>| assert_eq!(emit(repr), no_token);
        let (eos, whole) = ([3, beyond], [beyond]);
        if beyond != u32::MAX {
            refused(TokenizerRepr { bos: Some(beyond), ..good });
            refused(TokenizerRepr { unknown: Some(beyond), ..good });
            refused(TokenizerRepr { eos: &eos, ..good });
            refused(TokenizerRepr { whole: &whole, ..good });
        }
        let mut outside = byte_ids;
        outside[7] = Some(beyond);
        let outside = TokenizerRepr { byte_ids: &outside, ..good };
        assert_eq!(emit(outside), Err(TokenizerError::ByteToken { byte: 7 }));
    }
    let not_text = TokenizerRepr { added: &[0x80], ..good };
    assert_eq!(emit(not_text), Err(TokenizerError::Added { at: 0 }));
}

#[test]
fn large_vocabularies_have_wide_ids() {
    let mut vocabulary = Vocabulary::new(&[(0, 1), (3, 2)], &[7, 3]);
    vocabulary.tokens.resize(70_000, b"pad".to_vec());
    vocabulary.tokens.push(b"<last>".to_vec());
    vocabulary.special = vec![70_000];
    let section = vocabulary.section();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    assert_eq!(tokenizer.tokens(), 70_001);
    assert_eq!(encode(&tokenizer, "abc<last>ab", true), [257, 70_000, 256]);
    assert_eq!(tokenizer.bytes(70_000), Some(&b"<last>"[..]));
    assert_eq!(tokenizer.bytes(70_001), None);
}
