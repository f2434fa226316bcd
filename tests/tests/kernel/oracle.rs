//! The oracles themselves, on cases small enough to be seen through.

use ripple_kernel::memory::cache::Admission;
use ripple_tests::oracle::*;

#[test]
fn plan_joins_blocks_that_are_near() {
    assert_eq!(plan(&[0, 1, 4], 512, 0, 99), [(0, 2), (4, 1)]);
    assert_eq!(plan(&[0, 1, 4], 512, 2, 99), [(0, 5)]);
    assert_eq!(plan(&[0, 1, 4], 512, 2, 4), [(0, 2), (4, 1)]);
}

#[test]
fn a_page_is_read_where_it_pays() {
    let slots: Vec<u32> = (0..60).map(|i| (i * 37) % 400).collect();
    let page = PageAt {
        start: 1000,
        rest: 2000,
        slots: &slots,
        ahead: 20,
        together: 0,
        held: false,
        always: false,
        next: None,
    };
    // One miss is read alone; many are read from the page's front.
    assert_eq!(plan_with_page(&[5], &page, 512, 2, 99), [(5, 1)]);
    let many = [0, 37, 74, 111, 148, 185, 222, 259, 296, 333];
    assert_eq!(plan_with_page(&many, &page, 512, 9, 99), [(1000, 21)]);
    // Neither is dear where a command goes on: the page begins where one does, and a single miss does.
    let on = PageAt { next: Some(998), ..page };
    assert_eq!(
        plan_with_page(&[5, 90, 200], &on, 512, 9, 99),
        [(1000, 21), (5, 1), (90, 1), (200, 1)]
    );
    let far = PageAt { ahead: 15, next: Some(-50), ..on };
    let misses = [5, 60, 120];
    assert_eq!(plan_with_page(&misses, &far, 512, 9, 99)[0], (1000, 16));
    let near = PageAt { next: Some(3), ..far };
    assert_eq!(plan_with_page(&misses, &near, 512, 9, 99), [(5, 1), (60, 1), (120, 1)]);
    // Together with others it pays where it does by itself, and costs nothing where it came with one before.
    let together = PageAt { together: 70, ..page };
    assert_eq!(plan_with_page(&many, &together, 512, 9, 99), [(1000, 70)]);
    assert_eq!(plan_with_page(&[5], &together, 512, 2, 99), [(5, 1)]);
    let held = PageAt { held: true, ..together };
    assert_eq!(plan_with_page(&many, &held, 512, 9, 99), []);
    assert_eq!(
        plan_with_page(&[5, 37 * 20, 37 * 21], &held, 512, 9, 99),
        [(5, 1), (740, 1), (777, 1)]
    );
    let page = PageAt { always: true, ..page };
    assert_eq!(plan_with_page(&[5], &page, 512, 2, 99), [(1000, 21), (5, 1)]);
}

#[test]
fn runs_count_neighbours() {
    assert_eq!(runs(&[1, 2, 3, 7, 9, 10]), [3, 3, 3, 1, 2, 2]);
}

#[test]
fn a_ghost_returns_to_the_main_queue() {
    let mut cache = Cache::new(2, Admission::ALL);
    for key in [1, 2, 3, 1] {
        cache.admit(key, 1);
    }
    assert_eq!(cache.main, [1]);
}
