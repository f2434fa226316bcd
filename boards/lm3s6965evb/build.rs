//! See `boards/build`.

fn main() {
    ripple_board_build::prepare(&ripple_app::board::LM3S6965EVB, None);
}
