/// Cuts a stream with registers in both directions: two words of storage.
/// Latency: 1 cycle. Rate: 1 word per cycle.
/// Back-pressure: s_ready_o comes from a register; no combinational path between any two of the stream's ports.
/// Reset empties the slice; data is not reset.
module stream_skid #(
  parameter int unsigned Width = 8  // bits of a word
) (
  input  logic             clk_i,
  input  logic             rst_ni,     // synchronous
  input  logic             s_valid_i,
  output logic             s_ready_o,
  input  logic [Width-1:0] s_data_i,
  output logic             m_valid_o,
  input  logic             m_ready_i,
  output logic [Width-1:0] m_data_o
);

  if (Width < 1) begin : gen_check_width
    $error("stream_skid: Width is %0d; expected at least 1", Width);
  end

  logic             out_valid_q, spare_valid_q, running_q;
  logic [Width-1:0] out_q, spare_q;

  assign s_ready_o = running_q && !spare_valid_q;
  assign m_valid_o = out_valid_q;
  assign m_data_o  = out_q;

  logic push, move;
  assign push = s_valid_i && s_ready_o;
  assign move = !out_valid_q || m_ready_i;  // the output register takes a word in this cycle

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      running_q     <= 1'b0;
      out_valid_q   <= 1'b0;
      spare_valid_q <= 1'b0;
    end else begin
      running_q <= 1'b1;
      if (move) begin
        out_valid_q   <= spare_valid_q || push;
        spare_valid_q <= 1'b0;
      end else if (push) begin
        spare_valid_q <= 1'b1;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (move) out_q <= spare_valid_q ? spare_q : s_data_i;
    if (push) spare_q <= s_data_i;
  end

endmodule
