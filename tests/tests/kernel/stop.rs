//! Stop strings are found in pieces of text as a naive search finds them in the whole.

use proptest::prelude::*;
use ripple_host_sim::model::tokenizer::TokenizerSpec;
use ripple_kernel::text::stop::{StopMatcher, Stops};
use ripple_kernel::text::tokenizer::Tokenizer;
use ripple_kernel::text::{End, TextStream};
use ripple_tests::tiny;

/// What a matcher gives of `pieces`, and the stop string it ends at.
fn streamed(stops: &[String], pieces: &[String]) -> (String, Option<usize>) {
    let mut matcher = StopMatcher::new(stops);
    let mut text = String::new();
    for piece in pieces {
        let found = matcher.push(piece, |piece| text.push_str(piece));
        if found.is_some() {
            return (text, found);
        }
    }
    matcher.finish(|piece| text.push_str(piece));
    (text, None)
}

/// The same, by looking at every beginning of the whole text.
fn naive(stops: &[String], text: &str) -> (String, Option<usize>) {
    for end in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
        let ending = |stop: &&(usize, &String)| text[..end].ends_with(stop.1.as_str());
        let candidates: Vec<_> = stops.iter().enumerate().filter(|(_, s)| !s.is_empty()).collect();
        let longest = candidates.iter().filter(ending).map(|(_, stop)| stop.len()).max();
        if let Some(length) = longest {
            let number = stops.iter().position(|s| s.len() == length && text[..end].ends_with(s));
            return (text[..end - length].to_owned(), number);
        }
    }
    (text.to_owned(), None)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn pieces_give_what_a_search_of_the_whole_gives(
        stops in proptest::collection::vec("[abé\u{1F600}]{0,5}", 0..4),
        pieces in proptest::collection::vec("[abé\u{1F600}]{0,4}", 0..12),
    ) {
        prop_assert_eq!(streamed(&stops, &pieces), naive(&stops, &pieces.concat()));
    }

    #[test]
    fn nothing_is_held_that_cannot_begin_a_stop_string(
        stops in proptest::collection::vec("[ab]{1,5}", 1..4),
        text in "[abc]{0,12}",
    ) {
        let mut matcher = StopMatcher::new(&stops);
        let mut given = String::new();
        if matcher.push(&text, |piece| given.push_str(piece)).is_none() {
            let held = (0..=text.len())
                .map(|at| &text[at..])
                .find(|end| stops.iter().any(|stop| stop.starts_with(end)));
            prop_assert_eq!(given + held.unwrap(), text);
        }
    }
}

#[test]
fn a_stop_string_over_three_pieces_is_not_given() {
    let mut matcher = StopMatcher::new(&["</s>"]);
    let mut text = String::new();
    let mut push = |piece| matcher.push(piece, |piece| text.push_str(piece));
    assert_eq!([push("Yes.<"), push("<"), push("/s"), push("> more")], [None, None, None, Some(0)]);
    assert_eq!(text, "Yes.<");
}

/// The section of a tokenizer with all bytes, where the tokens 0 and 300 end a text and 301 is special.
fn bytes_and_words() -> Vec<u8> {
    let spec = tiny::tokenizer().clone();
    TokenizerSpec { eos: vec![0, 300], special: vec![0, 301], ..spec }.pack().unwrap()
}

/// What a stream gives of `tokens`, and why it ended.
fn stream(section: &[u8], stops: &[String], tokens: &[u32]) -> (String, Option<End>) {
    let mut stream = TextStream::new(Tokenizer::parse(section).unwrap()).with_stops(stops);
    let (mut text, mut end) = (String::new(), None);
    for &token in tokens {
        end = stream.push(token, |piece| text.push_str(piece));
        if end.is_some() {
            break;
        }
    }
    // Behind an end it has no more to give.
    let before = text.len();
    stream.finish(|piece| text.push_str(piece));
    assert!(end.is_none() || text.len() == before, "{end:?} {text:?}");
    (text, end)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_of_tokens_is_the_text_of_all_their_bytes(
        stops in proptest::collection::vec("[ae t\u{fffd}]{0,3}", 0..3),
        // Letters, beginnings and ends of characters that are longer than a byte, the end of text.
        tokens in proptest::collection::vec(
            prop_oneof![Just(b'a'), Just(b'e'), Just(b' '), Just(0xC3), Just(0xA9), Just(0xF0), any::<u8>()],
            0..24
        ),
        eos_at in 0..48usize,
        eos in prop::sample::select(&[0, 300][..]),
        special_at in 0..48usize,
    ) {
        let section = bytes_and_words();
        let tokenizer = Tokenizer::parse(&section).unwrap();
        let id = |byte: &u8| (0..tokenizer.tokens()).find(|&id| tokenizer.bytes(id) == Some(&[*byte])).unwrap();
        let mut ids: Vec<u32> = tokens.iter().map(id).collect();
        let ended = eos_at < ids.len();
        if ended {
            ids.insert(eos_at, eos);
        }
        // It is no part of what is said.
        ids.insert(special_at.min(ids.len()), 301);
        let heard = &tokens[..eos_at.min(tokens.len())];
        let (text, stop) = naive(&stops, &String::from_utf8_lossy(heard));
        let (found, end) = stream(&section, &stops, &ids);
        prop_assert_eq!(found, text);
        match stop {
            // A character that is never finished is shown as a replacement where the text ends: a stop
            // string may then be found in the last moment, behind the reason why the text ended.
            Some(number) => {
                let late = stops[number].ends_with(char::REPLACEMENT_CHARACTER);
                prop_assert!(late || end == Some(End::StopString(number)));
            }
            None => prop_assert_eq!(end, ended.then_some(End::EndOfText)),
        }
    }
}
