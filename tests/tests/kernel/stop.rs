//! Stop strings are found in pieces of text as a naive search finds them in the whole.

use proptest::prelude::*;
use ripple_kernel::text::stop::StopMatcher;

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
