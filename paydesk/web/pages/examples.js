// The examples of `paydesk try` (a test holds them against paydesk/examples.py).

export const EXAMPLES = [
  { tx_id: "TX001", amount: 50, category: "food", hour: 14 },
  { tx_id: "TX002", amount: 1800, category: "electronics", hour: 10 },
  { tx_id: "TX003", amount: 4500, category: "electronics", hour: 3 },
  { tx_id: "TX004", amount: 120.5, category: "clothing", hour: 18 },
  { tx_id: "TX005", amount: 3200, category: "travel", hour: 11 },
  { tx_id: "TX006", amount: 22, category: "transport", hour: 2 },
  { tx_id: "TX007", amount: 2900, category: "electronics", hour: 1 },
  { tx_id: "TX008", amount: 75, category: "health", hour: 9 },
  { tx_id: "TX009", amount: 8200, category: "home", hour: 13 },
  { tx_id: "TX010", amount: 15.9, category: "entertainment" },
];
