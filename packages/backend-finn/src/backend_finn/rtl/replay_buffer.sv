/// Takes frames of `Words` words and hands each frame out `Repeats` times over, in order.
/// Latency: 2 cycles from a word to its first copy (1 cycle if Repeats is 1). Rate: 1 word out per cycle; while one frame is
/// handed out the next one is taken in, so that frames follow each other without a gap.
/// Back-pressure: a word is read when en_i is high; in_ready_o depends on registers only (on en_i if Repeats is 1).
/// Reset clears the counters and out_valid_o; out_data_o is meaningless until the first out_valid_o.
module replay_buffer #(
  parameter int unsigned Width   = 8,  // bits of a word
  parameter int unsigned Words   = 4,  // words of a frame
  parameter int unsigned Repeats = 2   // times that a frame is handed out
) (
  input  logic             clk_i,
  input  logic             rst_ni,       // synchronous
  input  logic             in_valid_i,
  output logic             in_ready_o,
  input  logic [Width-1:0] in_data_i,
  input  logic             en_i,         // the reader takes what out_valid_o offers, and everything moves one step
  output logic             issue_o,      // a word is being read; it is on out_data_o after this edge
  output logic             out_valid_o,
  output logic             out_first_o,  // first word of a frame
  output logic             out_last_o,   // last word of a frame
  output logic [Width-1:0] out_data_o
);
  localparam int unsigned IndexBits  = Words > 1 ? $clog2(Words) : 1;
  localparam int unsigned RepeatBits = Repeats > 1 ? $clog2(Repeats) : 1;
  localparam logic [IndexBits-1:0]  LastIndex  = IndexBits'(Words - 1);
  localparam logic [RepeatBits-1:0] LastRepeat = RepeatBits'(Repeats - 1);

  if (Width == 0 || Words == 0 || Repeats == 0) begin : gen_wrong
    $error("replay_buffer: Width, Words and Repeats are at least 1");
  end

  logic [IndexBits-1:0] read_index_q;
  logic                 available;

  assign issue_o = en_i & available;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      read_index_q <= '0;
      out_valid_o  <= 1'b0;
    end else if (en_i) begin
      out_valid_o <= available;
      if (available) read_index_q <= (read_index_q == LastIndex) ? '0 : read_index_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (en_i) begin
      out_first_o <= read_index_q == '0;
      out_last_o  <= read_index_q == LastIndex;
    end
  end

  if (Repeats == 1) begin : gen_through
    assign available  = in_valid_i;
    assign in_ready_o = en_i;
    always_ff @(posedge clk_i) begin
      if (en_i) out_data_o <= in_data_i;
    end
  end else begin : gen_buffer
    // Two banks: one is read while the other one is filled. A word may be read one cycle after it was written.
    logic [Width-1:0]      memory [2 << IndexBits];
    logic [IndexBits-1:0]  write_index_q;
    logic [RepeatBits-1:0] repeat_q;
    logic                  write_bank_q, read_bank_q;
    logic [1:0]            full_q;
    logic                  write, last_write, last_read;

    assign in_ready_o = ~full_q[write_bank_q];
    assign write      = in_valid_i & in_ready_o;
    assign last_write = write & (write_index_q == LastIndex);
    assign available  = full_q[read_bank_q] | (read_bank_q == write_bank_q & read_index_q < write_index_q);
    assign last_read  = issue_o & (read_index_q == LastIndex) & (repeat_q == LastRepeat);

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        write_index_q <= '0;
        write_bank_q  <= 1'b0;
        read_bank_q   <= 1'b0;
        repeat_q      <= '0;
        full_q        <= '0;
      end else begin
        if (write) write_index_q <= last_write ? '0 : write_index_q + 1'b1;
        if (last_write) begin
          write_bank_q         <= ~write_bank_q;
          full_q[write_bank_q] <= 1'b1;
        end
        if (issue_o & (read_index_q == LastIndex)) repeat_q <= (repeat_q == LastRepeat) ? '0 : repeat_q + 1'b1;
        if (last_read) begin
          read_bank_q         <= ~read_bank_q;
          full_q[read_bank_q] <= 1'b0;
        end
      end
    end

    always_ff @(posedge clk_i) begin
      if (write) memory[{write_bank_q, write_index_q}] <= in_data_i;
      if (en_i) out_data_o <= memory[{read_bank_q, read_index_q}];
    end
  end
endmodule
