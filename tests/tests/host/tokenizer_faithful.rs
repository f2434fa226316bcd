//! A vocabulary that gives back another text than it was given is neither packed nor run.

use ripple_host_sim::model::tokenizer::{TokenizerSpec, open};
use ripple_kernel::text::tokenizer::Tokenizer;
use ripple_tests::tiny::tokenizer;

/// What is wrong with a vocabulary, in packing it.
fn refused(change: impl FnOnce(&mut TokenizerSpec)) -> String {
    let mut spec = tokenizer().clone();
    change(&mut spec);
    format!("{:#}", spec.pack().unwrap_err())
}

#[test]
fn a_merge_is_its_two_parts() {
    let said = refused(|spec| spec.merges[3].2 = spec.merges[4].2);
    assert!(said.contains("the merge of token "), "{said}");
    assert!(said.contains("expected the token of both together"), "{said}");
    let said = refused(|spec| spec.tokens[spec.merges[0].2 as usize].push(b'x'));
    assert!(said.contains("the merge of token "), "{said}");
}

#[test]
fn a_byte_is_its_own_token() {
    let said = refused(|spec| spec.byte_ids[usize::from(b'~')] = spec.byte_ids[usize::from(b'!')]);
    assert!(said.contains("the byte 0x7e is encoded as a token of other bytes"), "{said}");
}

/// As many merges of as many sections as there are: each is told, and the section is one for the kernel.
#[test]
fn every_changed_merge_of_a_section_is_refused() {
    let good = tokenizer().pack().unwrap();
    let parsed = Tokenizer::parse(&good).unwrap();
    assert!(open(&good).is_ok() && parsed.unfaithful_merge().is_none());
    let tokens = tokenizer().tokens.len() as u16;
    // Header, bounds, bytes; then left, right, result of each merge, in 16 bits.
    let start = 44 + 2 * usize::from(tokens) + 512;
    let mut told = 0;
    for at in 0..tokenizer().merges.len() {
        let place = start + 6 * at + 4..start + 6 * at + 6;
        let mut bad = good.clone();
        let id = u16::from_le_bytes(bad[place.clone()].try_into().unwrap());
        bad[place].copy_from_slice(&((id + 1) % tokens).to_le_bytes());
        // One that is no section any more is refused by the kernel.
        if Tokenizer::parse(&bad).is_ok() {
            assert!(open(&bad).is_err(), "merge {at}");
            told += 1;
        }
    }
    assert!(told > 200, "{told}");
}
