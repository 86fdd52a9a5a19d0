fn main(){ let f=std::fs::read(std::env::args().nth(1).unwrap()).unwrap(); print!("{}", portbook::iana::seed::seed_sql(&f).unwrap()); }
