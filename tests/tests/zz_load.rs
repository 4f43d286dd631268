use scanguard::kernel::{Datapath, LoadOptions};
#[test]
fn stats() {
    for virtual_world in [false, true] {
        let start = std::time::Instant::now();
        let d = Datapath::load(&LoadOptions { virtual_world, ..LoadOptions::default() }).expect("loaded");
        println!("loaded in {:?}", start.elapsed());
        println!("{:?}", d.verified());
    }
}
