//! Closed lists of number, label and sentence: what is counted in the kernel, named in metrics and JSON, and said to people.

/// Makes an enum of `Name = number, "label", "sentence";` lines. Numbers are positions in kernel counters and stored events, labels are metric labels:
/// neither ever changes or is used twice, and a new line goes to the end.
macro_rules! labelled {
    ($(#[$about:meta])* $type:ident; $($(#[$attribute:meta])* $name:ident = $number:literal, $label:literal, $sentence:literal;)+) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
        #[repr(u8)]
        pub enum $type {
            $($(#[$attribute])* #[doc = $sentence] $name = $number,)+
        }

        impl $type {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The one with this number.
            #[must_use]
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// The label in metrics and JSON.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// The sentence shown to a person.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)+ }
            }
        }
    };
}

pub(crate) use labelled;
