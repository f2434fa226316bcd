//! SentencePiece vocabularies and digits: the ids are those of the plainest implementation.

use crate::checkpoint_common::{Llama2c, Piece, silu, vocabulary};
use proptest::prelude::*;
use ripple_host_sim::import::import_dense;
use ripple_host_sim::model::tokenizer::{Kind, TokenizerSpec};
use ripple_kernel::text::TextStream;
use ripple_kernel::text::tokenizer::{EncodeOptions, Tokenizer, Words};
use ripple_tests::tiny::{Shape, tokenizer};

/// The way through a llama2.c file: import what `pieces` are written as.
fn imported(pieces: &[Piece]) -> TokenizerSpec {
    let shape = Shape { dim: 8, layers: 1, neurons: 2, kv_heads: 1, head_dim: 4, ..Shape::LLAMA };
    let files = Llama2c::write(&silu(shape), pieces, 0);
    import_dense(&files.model(), None).unwrap().tokenizer
}

fn encode(section: &[u8], text: &str) -> Vec<u32> {
    let mut ids = vec![0; 2 * text.len() + 2];
    let tokenizer = Tokenizer::parse(section).unwrap();
    let count = tokenizer.encode(text, EncodeOptions::default(), &mut ids).unwrap();
    ids.truncate(count);
    ids
}

/// SentencePiece's BPE as llama2.c has it: over the whole text, the best score first, then the leftmost.
fn naive(pieces: &[Piece], text: &str) -> Vec<u32> {
    if text.is_empty() {
        return Vec::new();
    }
    let find =
        |text: &str| pieces.iter().position(|piece| piece.text == text && !text.starts_with('<'));
    let mut parts: Vec<(String, u32)> = Vec::new();
    for c in format!(" {text}").replace(' ', "\u{2581}").chars() {
        match find(&c.to_string()) {
            Some(id) => parts.push((c.to_string(), id as u32)),
            None => {
                let c = if c == '\u{2581}' { ' ' } else { c };
                let bytes = c.to_string().into_bytes();
                parts.extend(bytes.iter().map(|&byte| ("\0".to_owned(), 3 + u32::from(byte))));
            }
        }
    }
    loop {
        let mut best: Option<(f32, usize, usize)> = None;
        for at in 1..parts.len() {
            if let Some(id) = find(&format!("{}{}", parts[at - 1].0, parts[at].0))
                && best.is_none_or(|(score, ..)| pieces[id].score > score)
            {
                best = Some((pieces[id].score, at, id));
            }
        }
        let Some((_, at, id)) = best else { break };
        parts[at - 1] = (pieces[id].text.clone(), id as u32);
        parts.remove(at);
    }
    parts.into_iter().map(|(_, id)| id).collect()
}

/// Some single characters and longer pieces of them, some with a space in them; few scores, so that many tie.
fn vocabularies() -> impl Strategy<Value = Vec<Piece>> {
    let single = prop::sample::subsequence(vec!["\u{2581}", "a", "b", "c", "é", "猫", "1"], 4..=7);
    let longer =
        prop::collection::btree_set("\u{2581}{0,3}[abcé猫1]{0,4}(\u{2581}[ab]?){0,1}", 0..40);
    let scores = prop::collection::vec(0..12u8, 64);
    (single, longer, scores).prop_map(|(single, longer, scores)| {
        let longer = longer.into_iter().filter(|text| text.chars().count() > 1);
        let texts = single.into_iter().map(str::to_owned).chain(longer);
        let piece = |(text, score): (String, u8)| Piece { text, score: -f32::from(score) };
        vocabulary(&texts.zip(scores).map(piece).collect::<Vec<_>>())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn ids_are_those_of_the_plain_loop(
        pieces in vocabularies(),
        texts in prop::collection::vec("[abcé猫1x\n \u{2581}]{0,80}", 1..8),
    ) {
        let section = imported(&pieces).pack().unwrap();
        for text in texts {
            let found = encode(&section, &text);
            prop_assert_eq!(&found, &naive(&pieces, &text), "{:?}", text);
            let tokenizer = Tokenizer::parse(&section).unwrap();
            let bytes: Vec<u8> =
                found.iter().flat_map(|&id| tokenizer.bytes(id).unwrap().to_vec()).collect();
            // The character for a space is a space.
            let text = text.replace('\u{2581}', " ");
            let expected = if text.is_empty() { String::new() } else { format!(" {text}") };
            prop_assert_eq!(bytes, expected.into_bytes());
        }
    }

    #[test]
    fn a_changed_section_never_panics(at in 0..4000usize, flip in 1..=255u8, text in "[abé ]{0,30}") {
        let piece = |text: &str, score| Piece { text: text.to_owned(), score };
        let pieces = vocabulary(&[piece("\u{2581}", -1.0), piece("é", -2.0), piece("\u{2581}é", -3.0)]);
        let mut section = imported(&pieces).pack().unwrap();
        let at = at % section.len();
        section[at] ^= flip;
        if let Ok(tokenizer) = Tokenizer::parse(&section) {
            let mut ids = vec![0; 2 * text.len() + 2];
            if let Ok(count) = tokenizer.encode(&text, EncodeOptions::default(), &mut ids) {
                prop_assert!(ids[..count].iter().all(|&id| id < tokenizer.tokens()));
            }
        }
    }

    #[test]
    fn digits_are_words_of_their_own(text in "[a-z0-9¾ ',.\n]{0,60}") {
        let words = tokenizer().clone();
        let digits = TokenizerSpec { kind: Kind::Bytes(Words::Gpt2Digits), ..words.clone() };
        let (words, digits) = (words.pack().unwrap(), digits.pack().unwrap());
        let mut expected = Vec::new();
        let mut part = String::new();
        for c in text.chars().chain(['0']) {
            if c.is_numeric() {
                expected.extend(encode(&words, &std::mem::take(&mut part)));
                expected.extend(encode(&words, &c.to_string()));
            } else {
                part.push(c);
            }
        }
        expected.truncate(expected.len() - encode(&words, "0").len());
        prop_assert_eq!(encode(&digits, &text), expected);
    }
}

#[test]
fn what_no_text_can_be_made_of_is_refused() {
    let piece = |text: &str, score| Piece { text: text.to_owned(), score };
    for (wrong, words) in [
        (piece("a", 0.0), &["260 and 261", "\"a\""][..]),
        (piece("", 0.0), &["token 261 is empty"]),
        (piece("b", f32::NAN), &["token 261 \"b\"", "NaN"]),
    ] {
        let pieces = vocabulary(&[piece("\u{2581}", 0.0), piece("a", 0.0), wrong]);
        let shape =
            Shape { dim: 8, layers: 1, neurons: 2, kv_heads: 1, head_dim: 4, ..Shape::LLAMA };
        let files = Llama2c::write(&silu(shape), &pieces, 0);
        let said = format!("{:#}", import_dense(&files.model(), None).err().unwrap());
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        assert!(said.contains("tokenizer.bin"), "{said}");
    }
}

#[test]
fn the_space_in_front_of_every_text_is_not_a_part_of_one_that_begins() {
    let pieces = ["\u{2581}", "a"].map(|text| Piece { text: text.to_owned(), score: 0.0 });
    let section = imported(&vocabulary(&pieces)).pack().unwrap();
    let tokenizer = Tokenizer::parse(&section).unwrap();
    let mut ids = [0; 4];
    let count = tokenizer.encode("a a", EncodeOptions::default(), &mut ids).unwrap();
    let text = |mut stream: TextStream<'_>| {
        let mut text = String::new();
        ids[..count].iter().for_each(|&id| assert_eq!(stream.push(id, |s| text.push_str(s)), None));
        text
    };
    let stream = TextStream::new(tokenizer);
    assert_eq!((text(stream.clone().from_start()), text(stream)), ("a a".into(), " a a".into()));
}
