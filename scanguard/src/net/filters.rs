//! BPF programs that hang on an interface as filters of `clsact`, the way of before TCX.

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::tc::{TcAttribute, TcFilterBpfOption, TcMessage, TcOption};

use super::{NetError, Netlink};

/// The names of the BPF programs among the filters of an interface, each with its direction, `ingress` or `egress`.
///
/// # Errors
/// When netlink cannot be used.
pub async fn bpf_filters(index: u32) -> Result<Vec<(&'static str, String)>, NetError> {
    let netlink = Netlink::open()?;
    let mut found = Vec::new();
    let Ok(index) = i32::try_from(index) else { return Ok(found) };
    for direction in ["ingress", "egress"] {
        let handle = netlink.handle.clone();
        let mut filters = handle.traffic_filter(index);
        let asked = if direction == "ingress" { filters.get().ingress() } else { filters.get().egress() };
        let answers: Result<Vec<TcMessage>, _> = asked.execute().try_collect().await;
        // An interface without that queueing discipline has none.
        for filter in answers.unwrap_or_default() {
            let options = filter.attributes.iter().filter_map(|attribute| match attribute {
                TcAttribute::Options(options) => Some(options),
                _ => None,
            });
            for option in options.flatten() {
                if let TcOption::Bpf(TcFilterBpfOption::ProgName(name)) = option {
                    found.push((direction, name.clone()));
                }
            }
        }
    }
    found.dedup();
    Ok(found)
}
