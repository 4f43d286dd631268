//! A configuration: what is taken is printed so that it is taken again, and means the same.

use scanguard::config::Config;
use scanguard::config::document::{Comments, document};

/// Reads a configuration.
///
/// # Panics
/// When what is printed of it is refused, or means something else.
pub fn run(data: &[u8]) {
    let config = match Config::parse(data) {
        Ok(config) => config,
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            for problem in problems {
                assert!(!problem.reason.is_empty(), "a problem without words: {problem:?}");
            }
            return;
        }
    };
    let _ = config.kernel_config([1, 2]);
    for comments in [Comments::With, Comments::Without] {
        let text = document(&config, comments);
        match Config::parse(text.as_bytes()) {
            Ok(again) => assert_eq!(again, config, "printed as\n{text}"),
            Err(problems) => panic!("what is printed is refused: {problems:?}\n{text}"),
        }
    }
}
