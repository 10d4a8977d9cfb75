/// Holds up to Depth words of a stream, first in, first out, in LUT or block memory.
/// Latency: 2 cycles when empty (1 for Depth 2). Rate: 1 word per cycle.
/// Back-pressure: s_ready_o follows from the fill level alone, never from m_ready_i of the same cycle.
/// Reset empties the memory; its contents are not reset. Needs stream_skid.sv.
module stream_fifo #(
  parameter int unsigned Width = 8,  // bits of a word
  parameter int unsigned Depth = 16  // words, at least 2, the output register included; any number
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
    $error("stream_fifo: Width is %0d; expected at least 1", Width);
  end
  if (Depth < 2) begin : gen_check_depth
    $error("stream_fifo: Depth is %0d; expected at least 2", Depth);
  end

  if (Depth <= 2) begin : gen_slice  // a memory of one word would run at half the rate
    stream_skid #(
      .Width (Width)
    ) i_skid (
      .clk_i,
      .rst_ni,
      .s_valid_i,
      .s_ready_o,
      .s_data_i,
      .m_valid_o,
      .m_ready_i,
      .m_data_o
    );
  end else begin : gen_memory
    localparam int unsigned Words = Depth - 1;  // in the memory; one more in the output register
    localparam int unsigned AddressWidth = $clog2(Words);
    localparam int unsigned CountWidth = $clog2(Words + 1);
    localparam logic [AddressWidth-1:0] LastAddress = AddressWidth'(Words - 1);

    logic [Width-1:0]        memory [Words];
    logic [AddressWidth-1:0] write_q, read_q;
    logic [CountWidth-1:0]   count_q;
    logic                    running_q, full_q, out_valid_q;
    logic [Width-1:0]        out_q;
    logic                    push, fetch;

    assign s_ready_o = running_q && !full_q;
    assign m_valid_o = out_valid_q;
    assign m_data_o  = out_q;
    assign push      = s_valid_i && s_ready_o;
    assign fetch     = (count_q != '0) && (!out_valid_q || m_ready_i);

    always_ff @(posedge clk_i) begin
      if (push) memory[write_q] <= s_data_i;
      if (fetch) out_q <= memory[read_q];
    end

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        running_q   <= 1'b0;
        full_q      <= 1'b0;
        out_valid_q <= 1'b0;
        write_q     <= '0;
        read_q      <= '0;
        count_q     <= '0;
      end else begin
        running_q <= 1'b1;
        if (push) write_q <= (write_q == LastAddress) ? '0 : write_q + 1'b1;
        if (fetch) read_q <= (read_q == LastAddress) ? '0 : read_q + 1'b1;
        if (push && !fetch) begin
          count_q <= count_q + 1'b1;
          full_q  <= count_q == CountWidth'(Words - 1);
        end else if (fetch && !push) begin
          count_q <= count_q - 1'b1;
          full_q  <= 1'b0;
        end
        if (fetch) out_valid_q <= 1'b1;
        else if (m_ready_i) out_valid_q <= 1'b0;
      end
    end
  end

endmodule
