//! SentencePiece BPE vocabularies: pieces with scores, as GGUF and llama2.c files have them.
//!
//! In: pieces. Out: [`TokenizerSpec`], with a merge for every two pieces that make a third. Knows
//! nothing of files.
//!
//! SentencePiece merges the two neighbours that make the piece of the best score, the leftmost of
//! several. So a score is a rank, and pieces of one score have one rank.

use crate::model::tokenizer::{Kind, TokenizerSpec};
use anyhow::{Result, bail, ensure};
use ripple_kernel::text::tokenizer::{Prefix, Spaces};
use std::collections::{BTreeMap, HashMap};

/// What SentencePiece writes for a space.
const SPACE: char = '\u{2581}';

/// What a piece is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A part of text.
    Normal,
    /// A byte of what is no piece: `<0x0A>`.
    Byte,
    /// Begins or ends a text: `<s>`.
    Control,
    /// Stands for what cannot be said: `<unk>`.
    Unknown,
    /// A part of text that is looked for before anything is merged.
    Named,
    /// Nothing.
    Unused,
}

/// One piece.
pub(super) struct Piece {
    pub text: Vec<u8>,
    pub score: f32,
    pub kind: Use,
}

impl Piece {
    /// A piece whose use is only told by what it is called.
    pub(super) fn by_name(text: &[u8], score: f32) -> Self {
        let control = [&b"<s>"[..], b"</s>", b"<pad>"].contains(&text);
        let kind = match byte_of(text) {
            Some(_) => Use::Byte,
            None if text == b"<unk>" => Use::Unknown,
            None if control => Use::Control,
            None => Use::Normal,
        };
        Self { text: text.to_vec(), score, kind }
    }
}

/// The byte that a byte piece stands for.
pub(super) fn byte_of(text: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(text).ok()?.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// Makes a vocabulary of `pieces`. `prefix`: where a space is put in front of a text.
///
/// # Errors
/// When two pieces are the same, or one is not what its use says: which, and what was expected.
pub(super) fn spec(pieces: &[Piece], prefix: Prefix) -> Result<TokenizerSpec> {
    let mut tokens = Vec::with_capacity(pieces.len());
    let mut ids: HashMap<Vec<u8>, u32> = HashMap::new();
    let mut byte_ids: Vec<Option<u32>> = vec![None; 256];
    let (mut special, mut added, mut unknown) = (Vec::new(), Vec::new(), None);
    for (id, piece) in (0u32..).zip(pieces) {
        let shown = || String::from_utf8_lossy(&piece.text);
        let bytes = match piece.kind {
            Use::Byte => byte_of(&piece.text).map_or(piece.text.clone(), |byte| vec![byte]),
            Use::Normal | Use::Named => with_spaces(&piece.text),
            Use::Control | Use::Unknown | Use::Unused => piece.text.clone(),
        };
        match piece.kind {
            Use::Byte => {
                ensure!(
                    byte_of(&piece.text).is_some(),
                    "token {id} {:?} is called a byte, expected <0x00> to <0xFF>; convert the model again",
                    shown()
                );
                byte_ids[usize::from(bytes[0])].get_or_insert(id);
            }
            Use::Normal => {
                ensure!(
                    piece.score.is_finite(),
                    "token {id} {:?} has the score {}, expected a finite number; convert the model again",
                    shown(),
                    piece.score
                );
                ensure!(
                    !bytes.is_empty(),
                    "token {id} is empty, expected a text or a token that is not used; convert the model \
                     again"
                );
                if let Some(other) = ids.insert(bytes.clone(), id) {
                    bail!(
                        "tokens {other} and {id} are both {:?}, expected one; convert the model again",
                        shown()
                    );
                }
            }
            Use::Control | Use::Unknown => {
                if piece.kind == Use::Unknown {
                    unknown = Some(id);
                }
                if !bytes.is_empty() && std::str::from_utf8(&bytes).is_ok() {
                    special.push(id);
                }
            }
            Use::Named => {
                ensure!(
                    !bytes.is_empty(),
                    "token {id} is empty and defined by a user, expected a text to look for; convert the \
                     model again, without it"
                );
                added.push(id);
            }
            Use::Unused => {}
        }
        tokens.push(bytes);
    }
    // What stands for an ASCII character is its piece; only without one, its byte.
    for byte in 0..=127u8 {
        if let Some(&id) = ids.get(&[byte][..]) {
            byte_ids[usize::from(byte)] = Some(id);
        }
    }
    let crossing = ids.keys().any(|bytes| crosses_words(bytes));
    let (merges, ranks) = merges(pieces, &ids);
    Ok(TokenizerSpec {
        tokens,
        byte_ids,
        unknown,
        fuse_unknown: true,
        merges,
        ranks,
        whole: Vec::new(),
        special,
        added,
        beside: BTreeMap::new(),
        bos: None,
        adds_bos: false,
        eos: Vec::new(),
        kind: Kind::Characters(if crossing { Spaces::Nowhere } else { Spaces::Before }),
        prefix,
        form: None,
    })
}

/// Whether a token has a space behind something else: then text is not cut in front of its spaces.
pub(super) fn crosses_words(bytes: &[u8]) -> bool {
    let word = bytes.iter().skip_while(|&&byte| byte == b' ');
    word.into_iter().any(|&byte| byte == b' ')
}

/// The bytes of a piece as they are in a text.
pub(super) fn with_spaces(text: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(text) {
        Ok(text) => text.replace(SPACE, " ").into_bytes(),
        Err(_) => text.to_vec(),
    }
}

/// Every two pieces that make a third, the best first, and their ranks.
fn merges(pieces: &[Piece], ids: &HashMap<Vec<u8>, u32>) -> (Vec<(u32, u32, u32)>, Vec<u32>) {
    let mut merges = Vec::new();
    for (bytes, &id) in ids {
        let Ok(text) = std::str::from_utf8(bytes) else { continue };
        for (at, _) in text.char_indices().skip(1) {
            let (left, right) = bytes.split_at(at);
            if let (Some(&left), Some(&right)) = (ids.get(left), ids.get(right)) {
                merges.push((left, right, id));
            }
        }
    }
    // Of the two zeroes neither is better.
    let score = |id: u32| pieces[id as usize].score + 0.0;
    merges.sort_unstable_by(|a, b| score(b.2).total_cmp(&score(a.2)).then(a.cmp(b)));
    // A rank is the first id of its score, so that ranks need no room where scores follow the ids.
    let mut scores: Vec<u32> = merges.iter().map(|merge| merge.2).collect();
    scores.dedup();
    let mut first: HashMap<u32, u32> = HashMap::new();
    for (rank, id) in (0..).zip(&scores) {
        first.entry(score(*id).to_bits()).or_insert(rank);
    }
    let ranks = merges.iter().map(|merge| first[&score(merge.2).to_bits()]).collect();
    (merges, ranks)
}
