//! On held-out text the co-activation order reads in longer runs than any other, for each demo
//! model. The table is the snapshot; fewer tokens than the README's, for time's sake.

use ripple_host_sim::import::demo;
use ripple_host_sim::model::Model;
use ripple_host_sim::model::text::read_tokens;
use ripple_host_sim::placement::runs::order_table;
use ripple_host_sim::profile::record::record;
use std::fmt::Write;

#[test]
#[ignore = "slow"]
fn coactivation_order_reads_in_the_longest_runs() {
    let mut report = String::new();
    for name in demo::list() {
        let directory = demo::path(name).unwrap();
        let model = Model::load(&directory).unwrap();
        let trace = |file, most: usize| {
            let tokens = read_tokens(&model, &directory.join(file)).unwrap();
            record(&model, file, &tokens[..most], &|_| ())
        };
        let table = order_table(&trace("profile.txt", 4096), &trace("held-out.txt", 1024)).unwrap();
        let [others @ .., ours] = table.rows.as_slice() else { panic!("no rows") };
        for other in others {
            assert!(ours.mean_run().mean > 1.05 * other.mean_run().max, "{name}");
            assert!(ours.reads_per_token().mean < other.reads_per_token().min, "{name}");
        }
        writeln!(report, "{table}\n").unwrap();
    }
    insta::assert_snapshot!(report);
}
