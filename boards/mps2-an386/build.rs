//! See `boards/build`.

fn main() {
    ripple_board_build::prepare(&ripple_app::board::MPS2_AN386, None);
}
